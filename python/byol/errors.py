"""The exceptions of this package."""


class ByolError(Exception):
    """What all exceptions of this package are: one sentence on what is wrong, where, and what to do."""


class EncoderError(ByolError):
    """An encoder that cannot be opened: a missing, damaged or unknown file, or weights that do not fit its description."""


class PictureError(ByolError):
    """A picture that cannot be prepared: one that `byol embed` leaves out as well, or input of a wrong kind or shape."""
