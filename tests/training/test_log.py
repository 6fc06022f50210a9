import pytest

from megalodon_edu.training.log import LogRow, LogWriter, read_log

ROWS = [LogRow(1, 40, 0.1, 5.5, 1e-3, 2.0), LogRow(2, 80, 0.2, 1 / 3, 2e-3, 1.5, 7.25), LogRow(3, 120, 0.3, 5, 1e-3, 1)]


def write(path, rows, done=0):
    with LogWriter(path, done) as log:
        for row in rows:
            log.append(row)


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    write(tmp_path / "log.csv", ROWS)
    assert read_log(tmp_path / "log.csv") == ROWS


def test_a_row_is_on_the_disk_at_once(tmp_path):
    with LogWriter(tmp_path / "log.csv") as log:
        log.append(ROWS[0])
        assert read_log(tmp_path / "log.csv") == ROWS[:1]


def test_a_resumed_log_drops_the_steps_that_are_taken_again(tmp_path):
    write(tmp_path / "log.csv", ROWS)
    write(tmp_path / "log.csv", ROWS[2:], done=2)
    assert read_log(tmp_path / "log.csv") == ROWS


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    write(tmp_path / "log.csv", ROWS)
    text = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(text[:-9])
    assert read_log(tmp_path / "log.csv") == ROWS[:2]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_log(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is not a training log: its first line must be step,tokens"):
        read_log(tmp_path / "log.csv")
    write(tmp_path / "log.csv", ROWS)
    text = (tmp_path / "log.csv").read_text().replace("2,80", "two,80")
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ValueError, match="line 3 of .* is no row of a training log"):
        read_log(tmp_path / "log.csv")
