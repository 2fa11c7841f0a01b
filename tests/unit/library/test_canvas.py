"""Canvases as they are composed and written down, and their messages, run by an interpreter."""

from __future__ import annotations

import json
import random
from itertools import count as counter
from itertools import repeat
from typing import Any

import pytest

from mesh import (
    CanvasTooLarge,
    InvalidCanvas,
    Mesh,
    Signature,
    TaskSet,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    registry,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from mesh.canvas import compiler
from mesh.canvas.compiler import GroupNode, Plan, TaskNode, compile_canvas
from mesh.canvas.forms import from_form
from mesh.step import Step
from mesh.wire.calls import When
from tests.unit.library.canvases import Skipped, interpreted, mix, random_canvas, worth

app = Mesh("canvas")


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="xsum")
def xsum(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="fail")
def fail(*args: Any) -> None:
    raise ValueError("no")


@app.task(name="note")
def note(*args: Any) -> list[Any]:
    return ["noted", *args]


HERE = {"add": add.run, "xsum": xsum.run, "fail": fail.run, "note": note.run, "mix": mix}


def compiled(*steps: Step) -> Plan:
    ids = counter()
    return compile_canvas(steps, lambda: f"id-{next(ids)}", app.tasks)


def value_of(node: Any, ended: dict[str, Any]) -> Any:
    return [value_of(member, ended) for member in node.members] if isinstance(node, GroupNode) else ended[node.id]


def value(step: Step) -> Any:
    plan = compiled(step)
    return value_of(plan.top[0], interpreted(plan, HERE))


def ran(step: Step) -> list[str]:
    """Names of the tasks that ran to their end or failed, in the order of the plan."""
    plan = compiled(step)
    ended = interpreted(plan, HERE)
    over = [planned for planned in plan.messages if planned.id in ended and not isinstance(ended[planned.id], Skipped)]
    return [planned.step.task for planned in over if planned.step is not None]


# -- signatures --------------------


def test_arguments_of_a_call_go_before_those_of_a_partial_and_keywords_replace_its_own() -> None:
    partial = note.s(2, debug=True).set(countdown=10)
    full = partial.clone((8,), {"debug": False}, countdown=1)
    assert (full.args, full.kwargs, full.options) == ((8, 2), {"debug": False}, {"countdown": 1})
    assert (partial.args, partial.kwargs, partial.options) == ((2,), {"debug": True}, {"countdown": 10})


def test_an_immutable_signature_takes_options_and_nothing_else() -> None:
    fixed = add.si(2, 2).clone((8,), {"z": 1}, countdown=1)
    assert (fixed.args, fixed.kwargs, fixed.options) == ((2, 2), {}, {"countdown": 1})


def test_set_link_and_on_error_change_the_signature_and_return_what_celery_returns() -> None:
    call, callback, errback = add.s(2, 2), note.s(), note.si(1)
    assert call.set(queue="mail", countdown=3) is call
    assert call.link(callback) is callback
    assert call.link_error(errback) is errback
    assert call.on_error(note.s("again")) is call
    call.link(note.s())
    assert call.options == {"queue": "mail", "countdown": 3, "link": [callback], "link_error": [errback, note.s("again")]}
    with pytest.raises(TypeError, match="did you mean"):
        call.set(quue="mail")
    with pytest.raises(InvalidCanvas, match="takes a signature"):
        call.link(add)  # type: ignore[type-var]


def test_a_canvas_has_celerys_json_form_and_comes_back_from_it() -> None:
    canvas = (add.s(1, 2) | group(add.s(1), note.s().set(queue="mail")) | xsum.s()).on_error(note.s())
    form = json.loads(json.dumps(dict(canvas)))
    assert set(form) == {"task", "args", "kwargs", "options", "subtask_type", "immutable"}
    assert (form["task"], form["subtask_type"]) == ("mesh.chain", "chain")
    assert form["kwargs"]["tasks"][0] == {
        "task": "add",
        "args": [1, 2],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    assert form["kwargs"]["tasks"][1]["subtask_type"] == "chord"
    assert from_form(form, app) == canvas
    for other in (xmap(add.s(1), [1, 2]), xstarmap(add.s(), [[1, 2]]), group(add.s(1, 1)), chord([add.s(1, 1)], xsum.s(), countdown=1)):
        assert signature(json.loads(json.dumps(other.to_dict())), app=app) == other


def test_forms_that_celery_has_written_are_read() -> None:
    member = {"task": "add", "args": [1, 2], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False, "chord_size": None}
    form = {"task": "celery.group", "args": [], "kwargs": {"tasks": [member]}, "options": {}, "subtask_type": "group", "immutable": False}
    assert signature(form, app=app) == group(add.s(1, 2))
    with pytest.raises(InvalidCanvas, match="not the JSON form"):
        signature({"task": "add", "subtask_type": "grup"}, app=app)
    with pytest.raises(InvalidCanvas, match="has no 'tasks'"):
        signature({"task": "celery.group", "subtask_type": "group", "kwargs": {}}, app=app)


def test_a_signature_by_name_belongs_to_the_application_of_its_canvas() -> None:
    assert value(signature("add", (1, 2)) | add.s(3)) == 6
    assert subtask(add.s(1)) == add.s(1)
    assert maybe_signature(7) == 7
    assert TaskSet is group


def test_what_belongs_to_no_application_goes_through_the_one_that_was_made_last(monkeypatch: pytest.MonkeyPatch) -> None:
    last = Mesh("last")
    assert signature("add", (1, 2)).app is last
    assert (signature("add", (1, 2)) | add.s(3)).app is app
    monkeypatch.setattr(registry, "_registries", [])
    with pytest.raises(InvalidCanvas, match="belongs to no application"):
        signature("add", (1, 2)).delay()


# -- composing --------------------


def test_a_group_that_is_followed_by_a_task_becomes_a_chord() -> None:
    header = group(add.s(i, i) for i in range(3))
    for canvas in (header | xsum.s(), chain(header, xsum.s()), chord(header, xsum.s())):
        inner = canvas if isinstance(canvas, chord) else canvas.parts[0]
        assert isinstance(inner, chord)
        assert value(canvas) == 6
    longer = header | xsum.s() | add.s(1)
    assert isinstance(longer, chord)
    assert value(longer) == 7


def test_the_pipe_joins_all_kinds_and_changes_neither_side() -> None:
    kinds = [
        mixed("a"),
        chain(mixed("b"), mixed("c")),
        group(mixed("d"), mixed("e")),
        chord([mixed("f")], mixed("g")),
        xmap(mixed("h"), [1]),
    ]
    before = [step.to_dict() for step in kinds]
    for first in kinds:
        for second in kinds:
            for third in kinds:
                assert value(first | second | third) == value(first | (second | third)) == steps_in_turn(first, second, third)
    assert [step.to_dict() for step in kinds] == before


def mixed(name: str) -> Signature[int]:
    return Signature(app, "mix", (name,))


def steps_in_turn(*steps: Any) -> Any:
    given: tuple[Any, ...] = ()
    for step in steps:
        given = (worth(step, given),)
    return given[0]


def test_groups_in_groups_are_taken_apart_and_one_at_the_end_of_a_chain_is_a_list() -> None:
    assert value(group(add.s(1, 10), group(add.s(1, 100), group(add.s(1, 1000))))) == [11, 101, 1001]
    assert value(group(add.s(1, 10) | group(add.s(1), add.s(2)), add.s(1, 1))) == [[12, 13], 2]
    assert value(group([add.s(1, 10) | group(add.s(1), add.s(2)), add.s(1, 1)]) | note.s()) == ["noted", [[12, 13], 2]]


def test_a_group_of_one_and_of_none_are_lists() -> None:
    assert value(add.s(1, 1) | group(add.s(1)) | note.s()) == ["noted", [3]]
    assert value(add.s(1, 1) | group() | note.s()) == ["noted", []]
    assert value(group()) == []
    assert value(chord([], xsum.s())) == 0


def test_chunks_are_a_group_of_starmaps() -> None:
    parts = chunks(add.s(), zip(range(5), range(5), strict=True), 2)
    assert value_forms(parts) == [[0, 2], [4, 6], [8]]
    assert isinstance(parts | xsum.s(), chord)
    with pytest.raises(InvalidCanvas, match="size of 1 or more"):
        chunks(add.s(), [], 0)


def value_forms(parts: Any) -> list[list[int]]:
    return [[add.run(*item) for item in part.items] for part in parts.tasks]


def test_a_parts_options_and_arguments_come_from_what_is_around_it() -> None:
    plan = compiled(
        group(add.s(1), add.s(2).set(queue="own"), chain(add.s(3), add.s(4)), queue="mail").clone((9,)),
        chord([add.s(1, 1)], xsum.s(), priority=7, countdown=3),
    )
    calls = [(step.args, step.options) for planned in plan.messages if (step := planned.step)]
    assert calls == [
        ((9, 1), {"queue": "mail"}),
        ((9, 2), {"queue": "mail"}),
        ((9, 3), {"queue": "mail"}),
        ((4,), {}),
        ((1, 1), {"priority": 7, "countdown": 3}),
        ((), {"priority": 7}),
    ]


def test_a_task_id_is_that_of_the_last_step_and_of_a_chords_body() -> None:
    for canvas in (add.s(1, 1) | add.s(1), group(add.s(1, 1)) | xsum.s(), group(add.s(1, 1)), add.s(1, 1)):
        assert compiled(canvas.clone(task_id="mine")).top[0].id == "mine"
    with pytest.raises(InvalidCanvas, match="want the task_id 'mine'"):
        compiled(group(add.s(1, 1).set(task_id="mine"), add.s(1, 2).set(task_id="mine")))


# -- callbacks --------------------


def test_callbacks_run_after_success_and_error_callbacks_after_failure() -> None:
    assert ran(add.s(1, 1).on_error(xsum.si([1])).set(link=[note.s()])) == ["add", "note"]
    call = fail.s()
    call.link(note.s())
    call.link_error(xsum.si([1]))
    assert ran(call) == ["fail", "xsum"]


def test_an_error_callback_of_a_chain_is_called_once_for_the_step_that_failed() -> None:
    steps = [add.si(1, 1), add.s(1), group(add.s(1), add.s(2)), xsum.s(), add.s(1)]
    for index in range(len(steps)):
        broken = [*steps[:index], fail.s(), *steps[index + 1 :]]
        assert ran(chain(*broken).on_error(note.s())).count("note") == 1
    assert "note" not in ran(chain(*steps).on_error(note.s()))


def test_an_error_callback_of_a_chord_is_called_once_wherever_it_fails() -> None:
    good = [add.s(1, 1), add.s(1, 2)]
    for call in good:
        call.set(immutable=True)
    for header, body in (([fail.s(), *good], xsum.s()), ([fail.s(), fail.s()], xsum.s()), (good, fail.s())):
        assert ran(chord(header, body).on_error(note.s())).count("note") == 1
        assert ran(chain(add.si(1, 1), chord(header, body)).on_error(note.s())).count("note") == 1


def test_error_callbacks_of_a_group_are_called_for_each_member_that_failed() -> None:
    assert ran(group(fail.s(), add.s(1, 1), group(fail.s())).on_error(note.s())).count("note") == 2


def test_a_callback_of_a_group_runs_when_all_members_have_succeeded() -> None:
    whole = group(add.s(1, 1), add.s(2, 2))
    whole.link(note.s("all"))
    assert ran(whole) == ["add", "add", "note"]
    whole.tasks.append(fail.s())
    assert "note" not in ran(whole)
    with pytest.raises(InvalidCanvas, match="a call of a group takes no link"):
        whole.apply_async(link=note.s())


# -- plans --------------------


def test_parents_and_what_follows_are_known() -> None:
    plan = compiled(add.s(1, 1) | group(add.s(1), add.s(2)) | xsum.s() | note.s())
    last = plan.top[0]
    body = last.parent
    assert isinstance(last, TaskNode)
    assert isinstance(body.parent, GroupNode)
    assert [member.parent.parent for member in body.parent.members] == [None, None]
    assert body.following == [last.id]
    first = body.parent.parent
    assert first.following == [member.id for member in body.parent.members]


def test_every_step_of_a_chain_waits_for_the_one_before_it_and_nothing_else() -> None:
    plan = compiled(chain(add.s(1, 1), *[add.s(n) for n in range(5)]))
    flows = [planned.flow for planned in plan.messages]
    assert flows[0] is None
    assert [flow.after for flow in flows[1:] if flow] == [planned.id for planned in plan.messages[:-1]]
    assert all(flow.when == When.SUCCESS and flow.gathers == -1 for flow in flows[1:] if flow)


SEED = random.randrange(1 << 32)


@pytest.mark.parametrize("part", range(4))
def test_the_messages_of_a_random_canvas_have_the_value_of_its_plain_evaluation(part: int) -> None:
    print(f"seed {SEED}")
    source = random.Random(SEED + part)
    for _ in range(1000):
        canvas = random_canvas(source, app)
        plan = compile_canvas([canvas], counter_ids())
        assert value_of(plan.top[0], interpreted(plan)) == worth(canvas), f"{canvas!r} of seed {SEED} + {part}"
        form = json.dumps(dict(canvas))
        assert json.dumps(dict(from_form(json.loads(form), app))) == form


def counter_ids() -> Any:
    ids = counter()
    return lambda: f"id-{next(ids)}"


# -- bad input --------------------


def test_wrong_arguments_of_any_step_are_refused() -> None:
    for wrong in (add.s(1, 1) | add.s(1, 2), chord([add.s(1, 1)], xsum.s(1)), xmap(add.s(), [1]), xstarmap(add.s(), [(1,)])):
        with pytest.raises(TypeError, match=r"\(\) (missing|too many)"):
            compiled(wrong)
    with pytest.raises(TypeError, match="a list of arguments"):
        compiled(xstarmap(add.s(), [1]))


def test_what_is_no_signature_is_refused() -> None:
    for wrong in (
        lambda: group(add),
        lambda: group(1, 2),
        lambda: chain("add"),
        lambda: chord([add.s(1, 1)], 7),
        lambda: xmap(group(), []),
    ):
        with pytest.raises(InvalidCanvas, match="takes"):
            wrong()
    with pytest.raises(TypeError, match="unsupported operand"):
        add.s(1, 1) | 7  # type: ignore[operator]
    with pytest.raises(TypeError, match="no option 'quue'"):
        group(add.s(1, 1), quue="mail")
    with pytest.raises(InvalidCanvas, match="needs a body"):
        compiled(chord([add.s(1, 1)]))
    with pytest.raises(InvalidCanvas, match="needs a step"):
        compiled(chain())


def test_a_canvas_that_contains_itself_is_refused() -> None:
    whole = group(note.s())
    whole.tasks.append(chain(note.s(), whole))
    with pytest.raises(InvalidCanvas, match="contains itself") as refused:
        compiled(whole)
    assert not isinstance(refused.value, CanvasTooLarge)
    linked = note.s()
    linked.options = {"link": [linked]}
    with pytest.raises(InvalidCanvas, match="linked to itself"):
        compiled(linked)
    direct = group()
    direct.tasks.append(direct)
    for act in (lambda: compiled(direct), direct.to_dict):
        with pytest.raises(InvalidCanvas, match="contains itself"):
            act()
    assert len(repr(direct)) < 500


def nested(levels: int) -> Step:
    step: Step = note.s()
    for level in range(levels):
        step = group([step]) if level % 2 else chain(note.s(), step)
    return step


def test_a_canvas_may_be_nested_500_levels_deep() -> None:
    deep = nested(500)
    plan = compiled(deep)
    assert len(interpreted(plan, HERE)) > 250
    assert len(compiled(from_form(deep.to_dict(), app)).messages) == len(plan.messages)
    assert len(repr(deep)) < 1000
    with pytest.raises(CanvasTooLarge, match="at most 500 levels"):
        compiled(nested(502))


def test_a_canvas_has_at_most_a_million_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CanvasTooLarge, match="at most 1,000,000 steps"):
        group(repeat(add.s(1, 1)))
    monkeypatch.setattr(compiler, "STEPS_MAX", 10_000)
    assert len(compiled(group(repeat(add.s(1, 1), 9_999))).messages) == 9_999
    wide = group([add.s(1, 1)] * 100)
    for _ in range(4):
        wide = group([wide] * 32)
    for canvas in (wide, group(chain(wide) for _ in range(32)), group(repeat(add.s(1, 1), 10_000))):
        with pytest.raises(CanvasTooLarge, match="at most 10,000 steps"):
            compiled(canvas)
