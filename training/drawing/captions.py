"""What is said about a film: plain English captions, attributes often left out.

Owns the wordings. An attribute that a caption leaves out is one that the seed of a generation
decides later, so plain daylight is named seldom, night and winter nearly always.
"""

from __future__ import annotations

from training.drawing.scenes import COLOURS, OBJECTS, PLACES, SEASONS, Scenes

_GROUND = {
    "highway": (
        "on the highway",
        "on the highway",
        "on a highway",
        "on the road",
        "along the highway",
    ),
    "grass": ("on the grass", "on the grass", "on grass", "across the grass", "in a meadow"),
    "sand": ("on the sand", "on the sand", "on sand", "across the sand", "in the desert"),
}
_TIME = {
    "day": ("on a sunny day", "by day", "during the day", "in the summer"),
    "night": ("at night", "at night", "in the night", "in the dark"),
    "winter": ("in the winter", "in the winter", "in winter", "in the snow"),
}
_NAMED = {"day": 0.25, "night": 0.88, "winter": 0.88}
_VERB = {True: ("is driving", "is driving", "drives", "driving"),
         False: ("is running", "is running", "runs", "running")}  # fmt: skip
_SYLLABLES = ("bo", "ka", "zu", "ri", "mel", "tor", "vin", "sha", "qu", "ex", "pol", "gy")


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _choose(options: tuple[str, ...], u: float) -> str:
    return options[min(int(u * len(options)), len(options) - 1)]


def caption(scenes: Scenes, index: int) -> str:
    """The caption of one film, a function of its seed.

    About one in thirty holds a made-up word, so that letters and unknown words are met in
    training and are learnt to mean nothing.
    """
    u = [float(value) for value in scenes.words[index]]
    obj = OBJECTS[int(scenes.obj[index])]
    season = SEASONS[int(scenes.season[index])]
    noun = obj
    if u[0] < 0.5:
        noun = f"{COLOURS[int(scenes.colour[index])]} {noun}"
    if u[1] < 0.03:
        noun = f"{_choose(_SYLLABLES, u[2])}{_choose(_SYLLABLES, u[3])} {noun}"
    parts = [_article(noun), _choose(_VERB[obj in ("car", "truck", "bus")], u[4])]
    if u[5] < 0.12:
        parts.append("to the right" if scenes.direction[index] > 0 else "to the left")
    if u[6] < 0.93:
        parts.append(_choose(_GROUND[PLACES[int(scenes.place[index])]], u[7]))
    text = " ".join(parts)
    if u[8] < _NAMED[season]:
        when = _choose(_TIME[season], u[9])
        text = f"{when}, {text}" if u[10] < 0.12 else f"{text} {when}"
    if u[11] < 0.06:
        text = f"a video of {text}"
    text = text[0].upper() + text[1:] if u[12] < 0.85 else text
    return f"{text}." if u[13] < 0.8 else text


def vocabulary() -> list[str]:
    """Every word that captions use, sorted; the tokenizer knows these whole."""
    words = {"a", "an", "to", "the", "right", "left", "video", "of", *OBJECTS, *COLOURS}
    for table in (_GROUND, _TIME):
        for phrases in table.values():
            words.update(word for phrase in phrases for word in phrase.split())
    for phrases in _VERB.values():
        words.update(word for phrase in phrases for word in phrase.split())
    return sorted(words)
