"""The scan, linearly interpolated, and a tenth of it as its uncertainty."""

from core.geometry.resample import interpolate
from core.methods.iterative import Beside, IterativeMethod, State


class Telling(IterativeMethod):
    name, fuses = "telling", True

    def about_maps_of(self, look):
        return {"sd": {"Description": f"Of {look}."}}

    def total(self):
        return 1

    def prepare(self, measured, target):
        return [interpolate(one.image, one.grid, target, 1) for one in measured]

    def start(self, problem):  # noqa: ARG002
        return State({}, finished=True)

    def step(self, problem, state):  # noqa: ARG002
        return {}

    def result(self, problem, state):  # noqa: ARG002
        return problem

    def beside(self, problem, state):  # noqa: ARG002
        pictures = {"kernel": [image[:2, :3, 0] for image in problem]}
        return Beside({"sd": [image / 10 for image in problem]}, [{"told": float(n)} for n in range(len(problem))], pictures)
