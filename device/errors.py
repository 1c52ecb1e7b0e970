"""Every error that a user can meet, each with one sentence that says what to do.

The command line prints the sentence and ends with a non-zero status; it never
shows a traceback for these.
"""


class KwsPiError(Exception):
    """Base of all errors that are reported to the user as one sentence."""


class ManifestError(KwsPiError):
    """The model's manifest cannot be read, or disagrees with its files."""


class SettingsError(KwsPiError):
    """The configuration cannot be read, or holds an unknown or wrong key."""


class AudioFileError(KwsPiError):
    """A recording cannot be read."""


class NotRunning(KwsPiError):  # noqa: N818 - named by the state
    """There is no daemon to ask."""


class IndicatorError(KwsPiError):
    """The LED cannot be switched."""


class MicrophoneError(KwsPiError):
    """The sound device is absent, busy, or refuses the format."""


class MicrophoneAbsent(MicrophoneError):  # noqa: N818 - named by the state
    """There is no such sound device (it may appear later)."""


class MicrophoneBusy(MicrophoneError):  # noqa: N818 - named by the state
    """Another program holds the sound device (it may be released later)."""


class MicrophoneSuspended(MicrophoneError):  # noqa: N818 - named by the state
    """The machine slept, and the stream has to be opened again."""


class MicrophoneStalled(MicrophoneError):  # noqa: N818 - named by the state
    """The sound device is open but delivers nothing."""


class CorpusError(KwsPiError):
    """The recordings to train on are missing or not in the expected layout."""


class KeywordError(KwsPiError):
    """The keyword cannot be spoken, or cannot name files."""


class RecipeError(KwsPiError):
    """A recipe, or one of its stages, cannot be carried out."""


class ExportError(KwsPiError):
    """The exported model does not compute what the trained network computes."""


class SetupError(KwsPiError):
    """A program or package that this step needs is not installed."""
