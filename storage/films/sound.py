"""The sound of an uploaded film, as plain samples. Runs in the child process."""

from av.audio.resampler import AudioResampler
from av.container import InputContainer

RATE = 48_000  # samples a second
CHANNELS = 2
SAMPLE_BYTES = 2
_FRAME_BYTES = CHANNELS * SAMPLE_BYTES


def sound_of(container: InputContainer, start_s: float, seconds: float) -> bytes | None:
    """Signed 16 bit samples, left and right in turn, from ``start_s`` on; None: there is no sound.

    Silence stands in where the sound begins later or ends earlier than is asked for.
    """
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    resampler = AudioResampler(format="s16", layout="stereo", rate=RATE)
    wanted = round(seconds * RATE)
    samples = bytearray()
    first: int | None = None  # where the samples begin, from start_s on
    for frame in container.decode(stream):
        if first is None:
            first = round(((frame.time or 0.0) - start_s) * RATE)
        for part in resampler.resample(frame):
            samples += bytes(part.planes[0])[: part.samples * _FRAME_BYTES]
        if first + len(samples) // _FRAME_BYTES >= wanted:
            break
        if first < 0 and (gone := min(-first, len(samples) // _FRAME_BYTES)):
            del samples[: gone * _FRAME_BYTES]  # never more in memory than is wanted
            first += gone
    if first is None:
        return None
    kept = bytes(max(0, first) * _FRAME_BYTES) + bytes(samples[max(0, -first) * _FRAME_BYTES :])
    return kept[: wanted * _FRAME_BYTES].ljust(wanted * _FRAME_BYTES, b"\0")
