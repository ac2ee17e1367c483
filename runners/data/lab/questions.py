"""Questions on texts, whose answers are spans of them or nothing, and choices among ways to go on."""

from typing import NamedTuple

from xlift.runners.data.lab.draw import Draw
from xlift.runners.data.lab.meaning import (
    TOPICS,
    Meaning,
    Setting,
    draw_meaning,
    fill,
    has_synonym,
    pronoun_of,
    takes_beings,
    topic_of,
)
from xlift.runners.data.lab.realise import Said, Style, draw_style, lemmas_of

ASKED = ("agent", "patient", "place", "time", "agent_count", "patient_count")


class Asked(NamedTuple):
    """A context, a question on one of its sentences, and where its answer stands: sentence and field, or nowhere."""

    context: tuple[Said, ...]
    question: Said
    sentence: int | None


class Offered(NamedTuple):
    """A context, perhaps a question and whom it is about, and choices of which one is right."""

    context: tuple[Said, ...]
    choices: tuple[Said | tuple[str, bool, Style], ...]
    label: int
    question: Said | None = None
    about: tuple[str, bool] | None = None


def span(
    setting: Setting, difficulty: float, draw: Draw, *, sentences: int, pronouns: bool = False, answered: bool = True
) -> Asked:
    """A question for one sentence, while another has a thing of the same kind; without answer it mixes two sentences up."""
    while True:
        context = _context(setting, difficulty, draw, sentences, pronouns)
        at = draw.below(sentences)
        target = context[at].meaning
        asked = draw.pick([field for field in ASKED if field in ("agent", "patient", *target.said)])
        if asked not in ("agent", "patient"):
            context = _all_say(context, asked, at, draw, setting)
        question = _bare(target, asked)
        if not answered:
            question = _mixed_up(question, asked, context[draw.pick([i for i in range(sentences) if i != at])].meaning, draw)
        if question is None or sum(_answers(said.meaning, question, asked) for said in context) != answered:
            continue
        other = tuple(lemma for lemma in lemmas_of(question) if draw.chance(difficulty))
        holds = at - 1 if context[at].style.pronoun and asked == "agent" else at  # a pronoun is answered by whom it stands for
        return Asked(context, Said(question, Style(other=other), asked), holds if answered else None)


def _context(setting: Setting, difficulty: float, draw: Draw, sentences: int, pronouns: bool) -> tuple[Said, ...]:
    """Sentences with different verbs, or, as often as it is difficult, with the same verb and other participants."""
    found: list[Said] = []
    while len(found) < sentences:
        last = found[-1] if found else None
        agent = (last.meaning.agent, last.meaning.agent_plural) if last and pronouns and draw.chance(0.7) else None
        verb = last.meaning.verb if last and not agent and draw.chance(difficulty) else None
        meaning = draw_meaning(draw, setting, said=(0, 1), agent=agent, verb=verb)
        before = [said.meaning for said in found]
        if any(
            (meaning.patient == m.patient)
            or (not agent and meaning.agent in (m.agent, m.patient))
            or (not verb and meaning.verb == m.verb)
            for m in before
        ):
            continue
        style = draw_style(draw, meaning, difficulty)
        if agent and not last.style.pronoun and resolves(last.meaning):
            meaning = meaning._replace(agent_count=None, agent_attribute=None)
            style = style._replace(passive=False, pronoun=True)
        elif agent:
            continue
        found.append(Said(meaning, style))
    return tuple(found)


def resolves(meaning: Meaning) -> bool:
    """Whether a pronoun for the agent of a sentence could stand for nobody else in it."""
    return not meaning.recipient and (
        pronoun_of(meaning.agent, meaning.agent_plural) != pronoun_of(meaning.patient, meaning.patient_plural)
    )


def _all_say(context: tuple[Said, ...], asked: str, at: int, draw: Draw, setting: Setting) -> tuple[Said, ...]:
    """The other sentences say something in the asked field as well, where they may; all differ in it."""
    found = []
    for i, said in enumerate(context):
        meaning = said.meaning
        if i != at and asked in meaning.sayable and not (said.style.pronoun and asked.startswith("agent")):
            while getattr(meaning, asked) in (None, getattr(context[at].meaning, asked)):
                meaning = fill(meaning, [asked], draw, setting.lemmas)
        found.append(said._replace(meaning=meaning))
    return tuple(found)


def _bare(meaning: Meaning, asked: str) -> Meaning:
    """What a question says: verb and participants, and of the details the one that is asked for."""
    return meaning._replace(**{field: None for field in meaning.said if field != asked})


def _mixed_up(question: Meaning, asked: str, other: Meaning, draw: Draw) -> Meaning | None:
    """The question with another sentence's participant, if that may stand there."""
    role = {"agent": "patient", "patient": "agent"}.get(asked) or draw.pick(("agent", "patient"))
    if asked == f"{role}_count" or takes_beings(question.verb) != takes_beings(other.verb):
        return None
    return question._replace(**{role: getattr(other, role), f"{role}_plural": getattr(other, f"{role}_plural")})


def _answers(meaning: Meaning, question: Meaning, asked: str) -> bool:
    """Whether a sentence says all that the question says, whatever it says of what is asked for."""
    return all(getattr(meaning, role) == getattr(question, role) for role in ("agent", "verb", "patient") if role != asked)


def going_on(setting: Setting, difficulty: float, draw: Draw) -> Offered:
    """What the agent usually does next is right; the other three sentences would be right elsewhere."""
    lemmas = setting.lemmas
    first = draw_meaning(draw, setting, said=(0, 1))
    context = [Said(first, draw_style(draw, first, difficulty))]
    agent = (first.agent, first.agent_plural)
    if draw.chance(difficulty):
        more = draw_meaning(draw, setting, said=(0, 1), verb=lemmas.successor(first.verb), agent=agent)
        context.append(Said(more, Style(then=True)))
    last = context[-1].meaning
    right = lemmas.successor(last.verb)
    near = [verb for verb in lemmas.classes["verb"] if topic_of(verb) == topic_of(right) and verb not in (right, last.verb)]
    others = [verb for verb in lemmas.classes["verb"] if topic_of(verb) != topic_of(right)]
    wrong = ([draw.pick(near)] if near and draw.chance(difficulty) else []) + draw.shuffled(others)
    return _offered(context, agent, [right, *wrong[:3]], setting, draw)


def reason(setting: Setting, difficulty: float, draw: Draw) -> Offered:
    """Two do something; asked is what one of them does next. What the other will do next is among the choices."""
    lemmas = setting.lemmas
    while True:
        two = [draw_meaning(draw, setting, said=(0, 1)) for _ in range(2)]
        people = {lemma for meaning in two for lemma in (meaning.agent, meaning.patient)}
        if len(people) == 4 and topic_of(two[0].verb) != topic_of(two[1].verb):
            break
    about = draw.below(2)
    verbs = [lemmas.successor(two[about].verb), lemmas.successor(two[1 - about].verb)]
    verbs += draw.shuffled([verb for verb in lemmas.classes["verb"] if topic_of(verb) not in map(topic_of, verbs)])[:2]
    agent = (two[about].agent, two[about].agent_plural)
    context = [Said(meaning, draw_style(draw, meaning, difficulty)) for meaning in two]
    return _offered(context, agent, verbs, setting, draw)._replace(about=agent)


def _offered(context: list[Said], agent: tuple[str, bool], verbs: list[str], setting: Setting, draw: Draw) -> Offered:
    """One choice a verb, each with participants of its own, in an order of its own; the first verb is right."""
    order = draw.shuffled(range(len(verbs)))
    choices = [Said(draw_meaning(draw, setting, said=(0,), verb=verb, agent=agent), Style(then=True)) for verb in verbs]
    return Offered(tuple(context), tuple(choices[i] for i in order), order.index(0))


def sense(setting: Setting, difficulty: float, draw: Draw) -> Offered:
    """Where one does it, or what one does it to: the choice that goes with the verb; no context."""
    asked, kind = draw.pick((("place", "place"), ("patient", "thing")))
    while True:
        meaning = draw_meaning(draw, setting, said=(0, 1))
        if asked == "place" or not takes_beings(meaning.verb):
            break
    meaning = meaning._replace(place=None, negated=False, patient_count=None, patient_attribute=None)
    topic = topic_of(meaning.verb)
    others = draw.shuffled([t for t in range(TOPICS) if t != topic])[:4]
    answers = [draw.pick(setting.lemmas.classes[kind][t::TOPICS]) for t in (topic, *others)]
    order = draw.shuffled(range(5))
    choices = tuple(
        (answers[i], False, Style(other=(answers[i],) if has_synonym(answers[i]) and draw.chance(difficulty) else ()))
        for i in order
    )
    return Offered((), choices, order.index(0), Said(meaning, Style(), asked))
