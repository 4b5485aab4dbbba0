"""What a case is: its section, what it sends, and the verdicts that the specifications allow."""

from wire import Failed

ALL = []


class Case:
    def __init__(self, name, what, expected, run, greet):
        self.name, self.what, self.expected, self.run, self.greet = name, what, expected, run, greet


def connection_error(*codes):
    return tuple(f"GOAWAY {code}" for code in codes)


def stream_error(*codes):
    """A stream error, or the same error for the whole connection (RFC 9113 section 5.4.1)."""
    return tuple(f"{frame} {code}" for code in codes for frame in ("RST_STREAM", "GOAWAY"))


ANSWERED = ("answered",)


def case(section, what, expected=None, greet=True):
    """Adds a case. Its function gets the connection and gives the frames to send, whose verdict is then compared, or, where
    nothing is expected, does everything by itself and raises what it finds."""

    def add(run):
        number = 1 + sum(case.name.rpartition("/")[0] == section for case in ALL)
        ALL.append(Case(f"{section}/{number}", what, expected, run, greet))
        return run

    return add


def verdict(case, connection):
    """None when all is well, otherwise what happened instead."""
    try:
        frames = case.run(connection)
        if case.expected is None:
            return None
        connection.send(*frames)
        came = connection.verdict(case.expected)
    except Failed as failed:
        return str(failed)
    return None if came in case.expected else came
