"""State machines: what is told, in which order, and in pose time."""

import pytest

from poseloop.protocols import Rehearsal, StateMachine


class Recorder(StateMachine):
    """Writes down all that it is told."""

    outputs = ("box.valve",)
    start = "first"

    def reset(self, seed):
        super().reset(seed)
        self.told = []

    def first(self, event):
        self.told.append(("first", event))
        if event == "entry":
            self.set_timer("long", 100)
            self.set_timer("short", 35)
        if event == "short":
            self.goto("second")

    def second(self, event):
        self.told.append(("second", event))
        if event == "box.poke":
            self.do(self.pulse("box.valve", 10))
            self.goto("first")


def test_entry_timers_inputs_and_poses_in_the_order_of_their_time() -> None:
    task = Rehearsal(Recorder)
    given = [task.show({"box.poke": True} if i == 6 else {}) for i in range(8)]
    assert task.protocol.told == [
        ("first", "entry"),
        *[("first", "pose")] * 4,
        ("first", "short"),  # due 35 ms after the first pose: told at the fifth one
        ("first", "exit"),
        ("second", "entry"),
        ("second", "pose"),
        ("second", "pose"),
        ("second", "box.poke"),
        ("second", "exit"),
        ("first", "entry"),
        ("first", "pose"),
        ("first", "pose"),
    ]
    assert [len(commands) for commands in given] == [0, 0, 0, 0, 0, 0, 1, 0]
    assert [note.values["state"] for note in task.notes] == ["first", "second", "first"]


def test_a_timer_is_due_before_an_input_that_came_later_and_can_be_stopped_and_set_anew() -> None:
    class Late(StateMachine):
        start = "waiting"

        def waiting(self, event):
            if event == "entry":
                self.told = []
                self.set_timer("due", 12)
                self.set_timer("never", 5)
                self.stop_timer("never")
                self.set_timer("later", 1)
                self.set_timer("later", 500)
            elif event != "pose":
                self.told.append(event)

    task = Rehearsal(Late)
    task.show()
    task.show()
    task.show({"box.poke": True, "box.lick": False})  # 15 ms after the first pose
    assert task.protocol.told == ["due", "box.poke", "box.lick off"]


def test_it_sees_where_points_are_and_unseen_ones_compare_false() -> None:
    class Corner(StateMachine):
        outputs = ("box.valve",)
        needs = ("snout",)
        start = "away"

        def away(self, event):
            if event == "pose" and self.where("snout")[0] > 50:
                self.note_now("arrived", x=self.where("snout")[0])
                self.goto("there")

        def there(self, event):
            if event == "entry":
                self.do(self.pulse("box.valve", 10))
            if event == "pose" and self.where("snout")[0] < 50:
                self.goto("away")

    task = Rehearsal(Corner)
    assert [i for i, _ in task.run({"snout": [None, (10, 0), (60, 0), None, (70, 0), (10, 0), (51, 0)]})] == [2, 6]
    assert [note.values["x"] for note in task.notes if note.name == "arrived"] == [60, 51]


def test_chance_is_seeded() -> None:
    class Coin(StateMachine):
        start = "toss"

        def toss(self, event):
            if event == "pose":
                self.note_now("toss", heads=self.random.random() < 0.5)

    def tosses(seed):
        task = Rehearsal(Coin, seed=seed)
        for _ in range(50):
            task.show()
        return [note.values.get("heads") for note in task.notes]

    assert tosses(1) == tosses(1)
    assert tosses(1) != tosses(2)


def test_a_state_that_is_none_and_an_endless_change_are_told() -> None:
    class Lost(StateMachine):
        start = "here"

        def here(self, event):
            if event == "pose":
                self.goto("nowhere")

    with pytest.raises(ValueError, match="expected a state, a method of Lost, but got 'nowhere'"):
        Rehearsal(Lost).show()

    class Ping(StateMachine):
        start = "ping"

        def ping(self, event):
            if event == "entry":
                self.goto("pong")

        def pong(self, event):
            if event == "entry":
                self.goto("ping")

    with pytest.raises(RuntimeError, match="100 changes of state"):
        Rehearsal(Ping).show()


def test_reset_goes_back_to_the_start() -> None:
    task = Rehearsal(Recorder)
    for _ in range(6):
        task.show()
    task.restart()
    assert task.protocol.state == ""
    task.show()
    assert task.protocol.told == [("first", "entry"), ("first", "pose")]


def test_chance_without_reset_says_what_to_do() -> None:
    class Forgets(StateMachine):
        start = "toss"

        def reset(self, seed):
            self.state = ""

    with pytest.raises(RuntimeError, match=r"super\(\).reset\(seed\)"):
        _ = Rehearsal(Forgets).protocol.random


def test_recent_poses_and_kinematics_are_at_hand() -> None:
    class Runs(StateMachine):
        needs = ("snout",)
        start = "watching"

        def reset(self, seed):
            super().reset(seed)
            self.snout = self.follow("snout", window_ms=50)
            self.fast = []

        def watching(self, event):
            if event == "pose" and self.snout.speed() > 450:
                self.fast.append((self.pose.index, len(self.recent)))

    task = Rehearsal(Runs)
    track = [(5.0 * max(i - 20, 0), 0) for i in range(40)]  # 500 px/s from pose 20 on
    task.run({"snout": [*track[:30], None, *track[31:]]})
    assert task.protocol.fast == [(index, index + 1) for index in range(25, 40)]
    task.restart()
    task.run({"snout": track})
    assert task.protocol.fast[0] == (25, 26)
    Runs.camera = None
    flying = Rehearsal(Runs, world=True)
    flying.run({"snout": [(0, 3.0 * i, 4.0 * i) for i in range(10)]})
    assert flying.protocol.snout.speed() == pytest.approx(500)
