"""`kws-pi run`: the daemon, put together from its settings."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from device.actions import Action, Say, actions_of
from device.health import Health
from device.microphone import Microphone
from device.model import default_manifest, load_model
from device.notify import WARNING, Event, Journal, Notifier
from device.prometheus import Metrics
from device.report import Reporter, runtime_folder
from device.settings import MicrophoneSettings, read_settings
from device.soundcard import alsa, lasting_name
from device.spotter import Spotter
from device.supervisor import Setup, Supervisor


def run_daemon(config: Path | None, manifest: Path | None) -> None:
    """Runs the daemon until SIGTERM or SIGINT; SIGHUP reads the settings anew.

    Raises SettingsError, ManifestError or SetupError before it starts.
    """
    alsa()  # a missing package will not turn up by waiting
    journal, notifier = Journal(), Notifier()
    reporter: Reporter

    def say(text: str) -> None:
        journal.record(text, WARNING, Event.ACTION)

    def read_anew() -> Setup:
        settings = read_settings(config)
        path = manifest or (Path(settings.model) if settings.model else default_manifest())

        def make_spotter() -> Spotter:
            return Spotter(load_model(path, settings.engine), settings.detection.threshold or None)

        spotter = make_spotter()
        journal.record(
            f"loaded {path} for {spotter.keyword!r}, threshold {spotter.detection.threshold:.3f}",
            event=Event.STARTED,
        )
        actions: list[Action] = [*actions_of(settings, spotter, make_spotter, say)]
        if settings.metrics.listen:
            actions.append(Metrics(settings.metrics.listen, lambda: reporter.latest, say))
        return Setup(spotter, _opener(settings.microphone, spotter, say), actions)

    setup = read_anew()
    health = Health(setup.spotter.keyword, setup.spotter.detection.threshold)
    reporter = Reporter(health, notifier, runtime_folder())
    supervisor = Supervisor(setup, read_anew, health, reporter, notifier, journal)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    signal.signal(signal.SIGHUP, supervisor.reload)
    try:
        supervisor.run()
        journal.record("stopped", event=Event.STOPPED)
    finally:
        reporter.close()
        journal.close()


def _opener(settings: MicrophoneSettings, spotter: Spotter, say: Say) -> Callable[[], Microphone]:
    """Opens the microphone of the settings, each time the same card, whatever its number is."""
    device = settings.device

    def open_microphone() -> Microphone:
        nonlocal device
        lasting = lasting_name(device)
        if lasting != device:
            say(
                f"{device} is {lasting} now; put that name into the settings, since the number "
                "may be another card's tomorrow"
            )
            device = lasting
        return Microphone(device, spotter.sample_rate, spotter.step_samples, settings.deadline_s)

    return open_microphone
