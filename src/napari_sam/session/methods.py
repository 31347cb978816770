"""A paragraph for the methods of a paper on how objects were segmented."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median

from napari_sam.io.session_file import Json
from napari_sam.model.lesson import Card, Lesson
from napari_sam.session.journal import Entry
from napari_sam.session.summary import KINDS, LONGEST_STEP, Summary, summarize

_SHOWN = 12  # digits of a digest: enough to distinguish models
_SAM = "an implementation of the Segment Anything Model (Kirillov et al., 2023)"
_VERSIONS = (("napari", "napari"), ("torch", "PyTorch"), ("numpy", "NumPy"))


def methods_text(about: Mapping[str, Json], entries: Sequence[Entry]) -> str:
    """Return a paragraph for the methods of a paper.

    It states the model and its digest, versions, the number of objects, how they were made, the
    prompts per object, and the time spent.

    Parameters
    ----------
    about
        The properties of the session, as :func:`~napari_sam.session.keeping.about_session` or a
        session's file has them.
    entries
        The journal entries in force, such as ``session.journal.entries``.
    """
    summary = summarize(entries)
    sentences = [_made(about, summary), *_taught(about, summary)]
    if summary.objects:
        sentences += [_came_about(summary), _searched(summary)]
        sentences += [_corrected(summary), _prompted(summary)]
        sentences += [_retouched(summary), _followed(summary), _took(summary)]
    return " ".join(sentence for sentence in sentences if sentence)


def _made(about: Mapping[str, Json], summary: Summary) -> str:
    image, versions = _table(about, "image"), _table(about, "versions")
    name = str(image.get("file") or image.get("name") or "the image")
    known = [f"{name} {versions[key]}" for key, name in _VERSIONS if key in versions]
    if "python" in versions:
        known.append(f"Python {versions['python']}")
    version = str(versions.get("napari-sam-live", "")).strip()
    tool = f"napari-sam-live {version}".strip() + (f" ({', '.join(known)})" if known else "")
    objects = _count(len(summary.objects), "object")
    where = f" on {_count(summary.planes, 'plane')}" if summary.planes > 1 else ""
    were = _were(len(summary.objects))
    return (
        f"{objects} in {name}{where} {were} segmented with {tool}, {_SAM}{_model(about, summary)}."
    )


def _model(about: Mapping[str, Json], summary: Summary) -> str:
    model = _table(about, "model")
    key = str(model.get("key", ""))
    if not model and not summary.models:
        return ""
    others = [other for other in summary.models if other != key]
    if others and key not in summary.models and summary.models:
        model = {}  # the model that is loaded has predicted nothing
    parts = []
    if model:
        facts = [f"digest {key[:_SHOWN]}"] if key else []
        if precision := model.get("precision"):
            facts.append(f"{precision} precision")
        details = f" ({', '.join(facts)})" if facts else ""
        parts.append(f"the model {model.get('name', '')}{details}")
    known = _table(about, "models")
    named = [one for one in others if _table(known, one).get("name")]
    for other in named:
        parts.append(f"the model {known[other]['name']} (digest {other[:_SHOWN]})")
    others = [one for one in others if one not in named]
    if others:
        digests = ", ".join(other[:_SHOWN] for other in others)
        number = _count(len(others), "other model" if parts else "model")
        parts.append(f"{number} (digest{'s' if len(others) > 1 else ''} {digests})")
    return f", using {' and '.join(parts)}"


def _taught(about: Mapping[str, Json], summary: Summary) -> list[str]:
    """Return a sentence for each taught model: what it was taught, and its scores."""
    sentences = []
    for key in summary.models:
        words = _table(_table(about, "models"), key)
        if not isinstance(words.get("taught"), dict):
            continue
        name = words.get("name") or f"with the digest {key[:_SHOWN]}"
        lesson = Card.from_json(json.dumps(words["taught"])).lesson
        before = "".join(f"{_lesson(one)}, and then " for one in lesson.earlier)
        text = (
            f"The model {name} is {lesson.parent} (digest {lesson.parent_key[:_SHOWN]}) after it "
            f"was taught {before}{_lesson(lesson)}"
        )
        if (click := lesson.scores.get("click")) is not None:
            held = f"{click.count} object{'s that were' if click.count > 1 else ' that was'}"
            text += (
                f"; on {held} held back the IoU after one click was {click.before:.2f} before and "
                f"{click.after:.2f} after"
            )
        sentences.append(f"{text}.")
    return sentences


def _lesson(lesson: Lesson) -> str:
    words = f"{_count(lesson.objects, 'object')} of {_count(lesson.planes, 'plane')}"
    encoder = ", encoder included" if lesson.thorough else ""
    return f"{words} ({_count(lesson.steps, 'step')}, seed {lesson.seed}{encoder})"


def _came_about(summary: Summary) -> str:
    prompted = len(summary.prompts.keys() - summary.found - summary.painted - summary.taken_over)
    kinds = (
        (len(summary.found), "found automatically"),
        (prompted, f"segmented from {_listed(_listed_kinds(summary))}"),
        (len(summary.painted), "painted by hand"),
        (len(summary.taken_over), "taken over from labels that were there"),
    )
    count = len(summary.objects)
    parts = [(n, how) for n, how in kinds if n]
    if len(parts) == 1:
        return f"{'It was' if count == 1 else 'All were'} {parts[0][1]}."
    (first, how), *others = parts
    phrases = [f"{first} ({share(first, count)}) {_were(first)} {how}"]
    phrases += [f"{n} ({share(n, count)}) {how}" for n, how in others]
    return f"Of these, {', '.join(phrases[:-1])} and {phrases[-1]}."


def _searched(summary: Summary) -> str:
    if not summary.texts:
        return ""
    texts = _listed([f"“{text}”" for text in summary.texts])
    return f"The text{'s' if len(summary.texts) > 1 else ''} {texts} specified what to find."


def _corrected(summary: Summary) -> str:
    corrected, rejected = len(summary.corrected), summary.rejected
    phrases = []
    if summary.found:
        some = f"{corrected} ({share(corrected, len(summary.found))})"
        phrases.append(f"{some if corrected else 'none'} {_were(corrected or 1)} corrected by hand")
    if rejected:
        phrases.append(f"{_count(rejected, 'more', 'more')} {_were(rejected)} deleted")
    sentences = [f"Of those found automatically, {' and '.join(phrases)}."] if phrases else []
    if summary.taken_over:
        mended = len(summary.taken_over & (summary.retouched | summary.prompts.keys()))
        some = f"{mended} ({share(mended, len(summary.taken_over))})" if mended else "none"
        sentences.append(f"Of those taken over, {some} {_were(mended or 1)} corrected by hand.")
    return " ".join(sentences)


def _listed_kinds(summary: Summary) -> list[str]:
    """Return the kinds of prompts to list: clicks and boxes, and others that were used."""
    return [KINDS[one] for one in KINDS if one in ("click", "box") or summary.count(one)]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _prompted(summary: Summary) -> str:
    totals = [counted.total() for counted in summary.prompts.values()]
    count = len(totals)
    if count == 0:
        return ""
    if count == 1:
        counts = {one: summary.count(one) for one in KINDS}
        phrases = [_count(n, one, KINDS[one]) for one, n in counts.items() if n]
        return f"One object had prompts: {_listed(phrases)}."
    each = [
        f"{summary.count(one) / count:.1f} {many}"
        for one, many in KINDS.items()
        if many in _listed_kinds(summary)
    ]
    return (
        f"{_count(count, 'object')} had prompts, on average {_listed(each)} each (median "
        f"{median(totals):g}, range {min(totals)} to {max(totals)})."
    )


def _retouched(summary: Summary) -> str:
    count = len((summary.retouched & summary.prompts.keys()) - summary.found - summary.painted)
    return f"{_count(count, 'mask')} of theirs {_were(count)} retouched by hand." if count else ""


def _followed(summary: Summary) -> str:
    masks, count = sum(summary.carried.values()), len(summary.carried)
    if not masks:
        return ""
    return (
        f"{_count(count, 'object')} {_were(count)} followed from plane to plane, from where "
        f"{'it was' if count == 1 else 'they were'} segmented: {_count(masks, 'mask')} "
        f"{_were(masks)} predicted in this way."
    )


def _took(summary: Summary) -> str:
    seconds = summary.active_seconds
    if not seconds:
        return ""
    each = _time_text(seconds / len(summary.objects))
    return (
        f"This took {_time_text(seconds)} of active work ({each} per object; pauses of more than "
        f"{LONGEST_STEP:.0f} s are not counted)."
    )


def _time_text(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def share(part: int, whole: int) -> str:
    """Format a fraction in percent; small fractions never become 0 %, nor large ones 100 %.

    Parameters
    ----------
    part, whole
        The number of the part, and of the whole.
    """
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.05:
        return "<0.1 %"
    if 99.95 <= percent < 100:
        return ">99.9 %"
    return f"{percent:.{int(0 < percent < 1 or 99 < percent < 100)}f} %"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _table(about: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = about.get(key)
    return value if isinstance(value, dict) else {}
