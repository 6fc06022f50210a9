# The course in a container. JupyterLab prints the address to open.
#
#   docker build --target cpu --tag megalodon-edu .        then  docker run --rm -p 8888:8888 megalodon-edu
#   docker build --target cuda --tag megalodon-edu-cuda .  then  docker run --rm -p 8888:8888 --gpus all megalodon-edu-cuda

FROM python:3.12-slim-bookworm AS course
# torch.compile and Triton call a compiler when they run.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home reader \
    && install --directory --owner=reader /home/reader/megalodon-edu
USER reader
WORKDIR /home/reader/megalodon-edu
COPY --chown=reader . .
ENV PIP_NO_CACHE_DIR=1
EXPOSE 8888
CMD ["python", "-m", "megalodon_edu", "lab", "--no-browser", "--ip=0.0.0.0", "--port=8888"]

# Without an index of CPU builds pip takes its own PyTorch, which brings CUDA.
FROM course AS cuda
RUN TORCH_CPU_INDEX= python -m megalodon_edu lab --no-open

FROM course AS cpu
RUN python -m megalodon_edu lab --no-open
