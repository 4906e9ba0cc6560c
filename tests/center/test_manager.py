"""Which jobs run: those that live streams, plans, viewers, quotas and cores ask for, and no others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.access.plan import Audio, Plan, Rendition, Video
from headwater.access.presence import StreamPresence
from headwater.center.department import Standing, StreamId, Wanted
from headwater.center.jobs import NO_SOURCE
from headwater.center.manager import REFUSED_S, SETTLED_S, Desired, KeptPlan, Load, Manager
from support.fake_department import FakeDepartment

CAM: StreamId = ("play.test", "live", "cam")


def _presence(stream: StreamId = CAM, session: str = "s1", **fields: Any) -> StreamPresence:
    presence = StreamPresence(*stream, session, "push.test", "rtmp://", 0.0, "::1", "::1", "node", 0)
    return msgspec.structs.replace(presence, **{"width": 1280, "height": 720, "frame_rate": 25, **fields})


def _plan(*renditions: Rendition, most: int = 0, account: str = "1") -> Plan:
    return Plan("play.test", account, "cn", renditions_max=most, renditions=renditions)


def _rendition(template: str, *, lazy: bool = True, app: str = "*", height: int = 360) -> Rendition:
    return Rendition(app, template, lazy=lazy, video=Video(height=height))


class World:
    """A manager with a department of renditions and one of recordings, and the jobs that it wants."""

    def __init__(self, *, cores_max: float = 100.0) -> None:
        self.renditions = FakeDepartment("transcode", follows_plan=True)
        self.renditions.renditions = True
        self.records = FakeDepartment("record")
        self.manager = Manager((self.renditions, self.records), node="node", cores_max=cores_max, idle_s=30)
        self.manager.worker_changed(0, "/run/worker-0.sock")
        self.load = Load()

    def at(self, now: float) -> dict[tuple[str, str], list[str] | str]:
        """The jobs at a time: of renditions their templates, of recordings the session of their source."""
        decision = self.manager.decide(now, self.load)
        self.refused = {template: refused.reason for (_, template), refused in decision.refused.items()}
        return {
            key: msgspec.json.decode(desired.wanted.spec)["publish"] if key[0] == "transcode" else desired.source.session
            for key, desired in decision.jobs.items()
        }

    def want(self, template: str, now: float, *, wanted: bool = True, worker: str = "node/0") -> None:
        self.manager.want_changed(CAM, template, worker, now, wanted=wanted)


@pytest.fixture
def world() -> World:
    return World()


TRANSCODE, RECORD = ("transcode", "cam"), ("record", "cam")


def test_a_stream_without_a_plan_costs_nothing(world: World) -> None:
    world.manager.stream_changed(CAM, _presence(), 0)
    assert world.at(0) == {}
    assert len(world.manager.streams()) == 1


def test_products_and_streams_of_other_nodes_are_none_of_ours(world: World) -> None:
    world.manager.plan_changed("play.test", _plan())
    world.manager.stream_changed(("play.test", "live", "cam_ld"), _presence(source="cam", template="ld"), 0)
    world.manager.stream_changed(CAM, _presence(node="other"), 0)
    assert world.at(0) == {}


def test_a_rendition_that_is_not_lazy_runs_while_its_source_does(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False)))
    world.manager.stream_changed(CAM, _presence(), 0)
    assert world.at(0)[TRANSCODE] == ["ld"]
    world.manager.stream_changed(CAM, None, 5)
    assert world.at(5) == {}


def test_a_lazy_rendition_runs_while_anybody_wants_it_and_half_a_minute_longer(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld"), _rendition("hd")))
    world.manager.stream_changed(CAM, _presence(), 0)
    assert TRANSCODE not in world.at(0)
    world.want("ld", 1)
    world.want("ld", 2, worker="node/1")
    assert world.at(2)[TRANSCODE] == ["ld"]
    world.want("ld", 3, wanted=False)
    world.want("ld", 4, wanted=False, worker="node/1")
    assert world.at(33)[TRANSCODE] == ["ld"]
    assert TRANSCODE not in world.at(34)


def test_who_comes_back_in_time_keeps_a_rendition_running(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld")))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("ld", 1)
    world.at(1)
    world.want("ld", 2, wanted=False)
    world.at(20)
    world.want("ld", 25)
    world.at(25)
    assert world.at(60)[TRANSCODE] == ["ld"]


def test_a_session_keeps_its_plan_in_a_center_that_is_started_anew(world: World) -> None:
    begun, changed = _plan(_rendition("ld")), _plan(_rendition("hd"))
    world.manager.plan_changed("play.test", begun)
    world.manager.stream_changed(CAM, _presence(), 0)
    world.at(0)
    [(stream, kept)] = world.manager.kept_news().items()
    assert stream == CAM
    assert kept == KeptPlan("s1", begun)
    assert world.manager.kept_news() == {}
    for session, plan in (("s1", begun), ("s2", changed)):
        anew = World()
        anew.manager.keep(CAM, kept)
        anew.manager.plan_changed("play.test", changed)
        anew.manager.stream_changed(CAM, _presence(session=session), 10)
        anew.at(10)
        assert anew.records.plans[-1] == plan
        assert anew.manager.kept_news() == ({} if plan == begun else {CAM: KeptPlan("s2", changed)})
    world.manager.stream_changed(CAM, None, 20)
    world.at(20)
    assert world.manager.kept_news() == {CAM: None}


def test_a_stream_that_a_department_cannot_bear_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other: StreamId = ("play.test", "live", "other")
    wanted = world.records.wanted

    def fails(stream: StreamPresence, *more: Any) -> list[Wanted]:
        if stream.stream == "cam" and stream.width:
            raise ValueError("no such thing")
        return wanted(stream, *more)

    monkeypatch.setattr(world.records, "wanted", fails)
    world.manager.plan_changed("play.test", _plan())
    world.manager.stream_changed(CAM, _presence(width=0), 0)
    world.manager.stream_changed(other, _presence(other), 0)
    assert set(world.at(0)) == {RECORD, ("record", "other")}
    world.manager.stream_changed(CAM, _presence(), 1)
    assert set(world.at(1)) == {RECORD, ("record", "other")}  # what ran goes on


def test_one_job_makes_all_renditions_of_a_stream(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False), _rendition("hd")))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("hd", 1)
    assert world.at(1)[TRANSCODE] == ["hd", "ld"]


def test_a_rendition_of_the_very_app_beats_one_for_any(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False), _rendition("ld", app="live")))
    world.manager.stream_changed(CAM, _presence(), 0)
    assert TRANSCODE not in world.at(0)


def test_what_is_recorded_is_made_as_if_somebody_watched(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld")))
    world.records.needed = ("ld",)
    world.manager.stream_changed(CAM, _presence(), 0)
    assert world.at(0)[TRANSCODE] == ["ld"]


def test_a_name_that_somebody_publishes_himself_is_not_made(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False)))
    world.manager.stream_changed(CAM, _presence(), 0)
    own = ("play.test", "live", "cam_ld")
    world.manager.stream_changed(own, _presence(own), 0)
    jobs = world.at(0)
    assert TRANSCODE not in jobs
    world.manager.stream_changed(own, None, 1)
    assert TRANSCODE in world.at(1)


def test_renditions_follow_the_plan_and_recordings_keep_that_of_their_publish(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False)))
    world.manager.stream_changed(CAM, _presence(), 0)
    assert world.at(0) == {TRANSCODE: ["ld"], RECORD: "s1"}
    world.manager.plan_changed("play.test", None)
    assert world.at(1) == {RECORD: "s1"}
    world.manager.stream_changed(CAM, _presence(session="s2"), 2)
    assert world.at(2) == {}


def test_a_new_publish_takes_up_a_plan_that_came_after_the_old_one(world: World) -> None:
    world.manager.stream_changed(CAM, _presence(), 0)
    world.manager.plan_changed("play.test", _plan())
    assert world.at(0) == {}
    world.manager.stream_changed(CAM, _presence(frame_rate=30), 1)
    assert world.at(1) == {}
    world.manager.stream_changed(CAM, _presence(session="s2"), 2)
    assert world.at(2) == {RECORD: "s2"}


def test_a_job_may_linger_until_its_publisher_is_back(world: World) -> None:
    world.records.linger_s = 60
    world.manager.plan_changed("play.test", _plan())
    world.manager.stream_changed(CAM, _presence(), 0)
    world.at(0)
    world.manager.stream_changed(CAM, None, 10)
    assert world.at(69) == {RECORD: "s1"}
    world.manager.stream_changed(CAM, _presence(session="s2"), 69)
    assert world.at(69) == {RECORD: "s2"}
    world.manager.stream_changed(CAM, None, 70)
    assert world.at(130) == {}
    world.manager.stream_changed(CAM, _presence(session="s3"), 131)
    assert world.at(131) == {RECORD: "s3"}


def test_a_domain_has_at_most_as_many_renditions_as_it_may(world: World) -> None:
    world.manager.plan_changed("play.test", _plan(*(_rendition(name) for name in ("a", "b", "c")), most=2))
    world.manager.stream_changed(CAM, _presence(), 0)
    for now, template in enumerate(("b", "c", "a")):
        world.want(template, now)
        world.at(now)
    assert world.at(5)[TRANSCODE] == ["b", "c"]
    assert world.refused == {"a": "quota"}
    world.want("b", 6, wanted=False)
    assert world.at(36)[TRANSCODE] == ["a", "c"]
    assert world.refused == {}


def test_renditions_beyond_the_cores_are_refused_while_those_that_run_go_on() -> None:
    world = World(cores_max=0.5)
    world.manager.plan_changed("play.test", _plan(_rendition("a"), _rendition("b", height=720), _rendition("c")))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("a", 0)
    assert world.at(0)[TRANSCODE] == ["a"]
    world.want("b", 1)
    assert world.at(1)[TRANSCODE] == ["a"]
    assert world.refused == {"b": "cores"}
    # far more than was thought: nothing new begins, and nothing ends
    world.load = Load({CAM: 3.0})
    world.want("c", 20)
    assert world.at(20)[TRANSCODE] == ["a"]
    assert world.refused == {"b": "cores", "c": "cores"}


def test_a_rendition_that_has_settled_costs_what_is_measured() -> None:
    world = World(cores_max=0.6)
    world.manager.plan_changed("play.test", _plan(_rendition("a", height=720), _rendition("b", height=720)))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("a", 0)
    world.want("b", 1)
    world.load = Load({CAM: 0.1})
    assert world.at(1)[TRANSCODE] == ["a"]
    assert world.at(1 + SETTLED_S)[TRANSCODE] == ["a", "b"]


def test_on_a_slow_machine_new_renditions_are_expected_to_cost_what_those_that_run_do() -> None:
    world = World(cores_max=0)
    other: StreamId = ("play.test", "live", "other")
    world.manager.plan_changed("play.test", _plan(_rendition("a", height=720)))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.manager.stream_changed(other, _presence(other), 0)
    world.want("a", 0)
    world.at(0)
    world.manager.want_changed(other, "a", "node/0", 1, wanted=True)
    # the second would fit by the estimate, 0.45 cores, but the first one takes 0.7
    world.load = Load({CAM: 0.7}, free_cores=0.6)
    assert ("transcode", "other") not in world.at(SETTLED_S)
    assert world.refused == {"a": "cores"}
    world.load = Load({CAM: 0.7}, free_cores=0.8)
    assert world.at(SETTLED_S + 1)["transcode", "other"] == ["a"]


def test_without_a_bound_of_its_own_the_center_leaves_the_machine_to_others() -> None:
    world = World(cores_max=0)
    world.manager.plan_changed("play.test", _plan(_rendition("a"), Rendition("*", "sound", audio=Audio("mp3"))))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("a", 0)
    world.want("sound", 0)
    world.load = Load({}, free_cores=0.05)
    assert world.at(0)[TRANSCODE] == ["sound"]
    assert world.refused == {"a": "cores"}
    world.load = Load({}, free_cores=1.0)
    assert world.at(1)[TRANSCODE] == ["a", "sound"]


def test_a_refusal_stands_for_a_while_so_that_nobody_waits_in_vain() -> None:
    world = World(cores_max=0.01)
    world.manager.plan_changed("play.test", _plan(_rendition("a")))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.want("a", 0)
    world.at(0)
    world.want("a", 1, wanted=False)
    world.at(REFUSED_S - 1)
    assert world.refused == {"a": "cores"}
    world.at(REFUSED_S + 1)
    assert world.refused == {}


def test_jobs_know_the_socket_of_the_worker_that_has_the_publisher(world: World) -> None:
    world.manager.plan_changed("play.test", _plan())
    world.manager.stream_changed(CAM, _presence(), 0)
    (desired,) = world.manager.decide(0, Load()).jobs.values()
    assert desired.source.socket == "/run/worker-0.sock"
    world.manager.worker_changed(0, None)
    (desired,) = world.manager.decide(0, Load()).jobs.values()
    assert desired.source.socket == ""


def _standing(*names: str, cores: float = 0.6) -> list[Standing]:
    return [Standing(Wanted(name, b"{}"), cores) for name in names]


def test_a_job_without_a_stream_waits_for_cores_and_then_keeps_them() -> None:
    manager = Manager((), node="node", cores_max=1.0, idle_s=30)
    manager.standing_changed("edge", _standing("a", "b"))
    first = manager.decide(0, Load()).jobs
    assert first["edge", "a"] == Desired("edge", Wanted("a", b"{}"), NO_SOURCE)
    assert first["edge", "b"].waits == "it would take 0.60 cores, and 0.40 are free"
    measured = Load(standing_cores={("edge", "a"): 0.3})
    assert manager.decide(1, measured).jobs["edge", "b"].waits, "it may not have begun to work"
    assert not manager.decide(SETTLED_S, measured).jobs["edge", "b"].waits
    manager.standing_changed("edge", _standing("b"))
    assert set(manager.decide(SETTLED_S, measured).jobs) == {("edge", "b")}


def test_renditions_get_what_jobs_without_a_stream_leave(world: World) -> None:
    world.manager = Manager((world.renditions,), node="node", cores_max=0.7, idle_s=30)
    world.manager.worker_changed(0, "/run/worker-0.sock")
    world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False)))
    world.manager.stream_changed(CAM, _presence(), 0)
    world.manager.standing_changed("edge", _standing("a"))
    assert [key for key in world.manager.decide(0, Load()).jobs if key[0] == "transcode"] == []
    world.manager.standing_changed("edge", [])
    assert TRANSCODE in world.manager.decide(1, Load()).jobs


def test_a_job_of_a_stream_that_had_gone_before_lingers_for_the_rest_of_its_time_or_goes_on_when_it_comes_back() -> None:
    for comes_back in (False, True):
        world = World()
        world.manager.resume(CAM, "delay", Wanted("cam", b'{"publish": []}', linger_s=60), gone_at=100)
        world.manager.plan_changed("play.test", _plan(_rendition("ld", lazy=False)))
        source = world.manager.decide(130, Load()).jobs["delay", "cam"].source
        assert (source.stream, source.socket) == ("cam", "/run/worker-0.sock")
        assert world.manager.stream(CAM) is None
        if comes_back:
            world.manager.stream_changed(CAM, _presence(), 140)
            assert TRANSCODE in world.at(140), "the plan is that of its publish"
        else:
            assert world.at(159) == {("delay", "cam"): ""}
            assert world.at(160) == {}
