"""A training to be killed: prints step and loss on a fixed batch after every checkpoint."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import blobs

from poseloop.train.fit import Plan, Point, Trainer

PLAN = Plan(steps=12, batch=4, size=64, checkpoint_s=0, evaluations=0, warm_up=2)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(file: str, resume: bool) -> None:
    trainer = Trainer(blobs.TINY, 2, PLAN, None, {}, Path(file), resume)
    fixed = blobs.batch(1000)
    say("start", trainer.step, trainer.loss(fixed).hex())

    def listen(point: Point) -> None:
        trainer.save()
        say("saved", trainer.step, trainer.loss(fixed).hex())

    trainer.run(blobs.source, None, listen)
    say("done", trainer.step, trainer.loss(fixed).hex())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "resume")
