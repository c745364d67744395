"""Jobs of a Slurm cluster, by submitit, and its executor without a cluster."""

from __future__ import annotations

import signal
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from seq2seq.registry import NonNegativeInt, PositiveInt
from seq2seq.sweeps.launcher import POLL, Launcher, LauncherError, Outcome, Task, Work, launchers


class _Submitted(Work):
    """What submitit sends. checkpoint: called by it when the cluster wants the machine back."""

    def checkpoint(self, task: Task) -> Any:
        from submitit.helpers import DelayedSubmission

        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        return DelayedSubmission(type(self)(in_worker=True), task)


class _Submitit(Launcher):
    """num_jobs: how many are submitted at a time."""

    cluster: str
    num_jobs: int

    @abstractmethod
    def _parameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those of the executor's constructor, and those of its jobs."""

    def run(self, tasks: Iterable[Task], done: Callable[[Task, Outcome], None]) -> None:
        from submitit.core.utils import FailedJobError

        waiting = iter(tasks)
        executor: Any = None
        running: list[tuple[Task, Any]] = []
        while True:
            if new := list(islice(waiting, self.num_jobs - len(running))):
                try:
                    executor = executor or self._executor(new[0].file.parents[1] / "submitit")
                    running += zip(new, executor.map_array(_Submitted(in_worker=True), new), strict=True)
                except (RuntimeError, OSError, ValueError, FailedJobError) as error:
                    told = (str(error).strip() or type(error).__name__).splitlines()[-1]
                    raise LauncherError(f"hydra/launcher: submitit cannot submit ({told})") from error
            if not running:
                return
            ended = [(task, job) for task, job in running if job.done()]
            in_queue = [pair for pair in running if pair[0].stop.exists() and pair[1].state == "PENDING"]
            running = [pair for pair in running if pair not in (*ended, *in_queue)]
            for task, job in ended:
                done(task, _outcome(job))
            for task, job in in_queue:
                job.cancel(check=False)
                done(task, Outcome(128 + signal.SIGTERM, stopped=True))
            if not ended:
                time.sleep(POLL)

    def _executor(self, folder: Path) -> Any:
        from submitit import AutoExecutor

        constructor, parameters = self._parameters()
        executor = AutoExecutor(folder=folder / "%j", cluster=self.cluster, **constructor)
        executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
        return executor


def _check_installed() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ValueError("needs submitit: pip install 'seq2seq[slurm]'") from error


def _outcome(job: Any) -> Outcome:
    error = job.exception()
    if error is None:
        result = job.result()
        assert isinstance(result, Outcome)
        return result
    return Outcome(1, why=f"{(str(error).strip() or type(error).__name__).splitlines()[-1]}; see {job.paths.stderr}")


@launchers.register("submitit_slurm")
class SubmititSlurm(_Submitit):
    """Jobs of a Slurm cluster, by submitit, from a machine that can submit; a job that is preempted, or reaches its
    time limit, saves and is submitted again.

    Options:
        partition: where jobs are submitted
        timeout_min: the time limit of a job, in minutes
        cpus_per_task: cores of a job
        gpus_per_node: GPUs of a job; trainer.devices says how many of them a run uses
        mem_gb: memory of a job
        array_parallelism: jobs at a time
        max_num_timeout: how often a job that reached its time limit is submitted again
        signal_delay_s: seconds before the time limit at which a job saves and ends
        account: who pays
        qos: quality of service
        constraint: of the machines
        job_name: in the queue
        setup: shell commands before a job, as a list
        additional_parameters: others of sbatch, as a mapping
    """

    cluster = "slurm"

    def __init__(
        self,
        *,
        partition: str | None = None,
        timeout_min: PositiveInt = 1440,
        cpus_per_task: PositiveInt = 4,
        gpus_per_node: NonNegativeInt | None = None,
        mem_gb: PositiveInt | None = None,
        array_parallelism: PositiveInt = 64,
        max_num_timeout: NonNegativeInt = 100,
        signal_delay_s: PositiveInt = 120,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        job_name: str = "seq2seq",
        setup: list[str] | None = None,
        additional_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ValueError where submitit is missing."""
        _check_installed()
        self.num_jobs = array_parallelism
        self.max_num_timeout = max_num_timeout
        self.parameters = {
            "timeout_min": timeout_min,
            "cpus_per_task": cpus_per_task,
            "gpus_per_node": gpus_per_node,
            "mem_gb": mem_gb,
            "name": job_name,
            "slurm_partition": partition,
            "slurm_array_parallelism": array_parallelism,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_account": account,
            "slurm_qos": qos,
            "slurm_constraint": constraint,
            "slurm_setup": setup,
            "slurm_additional_parameters": additional_parameters,
        }

    def _parameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"slurm_max_num_timeout": self.max_num_timeout}, self.parameters


@launchers.register("submitit_local")
class SubmititLocal(_Submitit):
    """Jobs of this machine, by submitit: what submitit_slurm does, without a cluster.

    Options:
        timeout_min: the time limit of a job, in minutes
        array_parallelism: jobs at a time
    """

    cluster = "local"

    def __init__(self, *, timeout_min: PositiveInt = 1440, array_parallelism: PositiveInt = 2) -> None:
        """Raises ValueError where submitit is missing."""
        _check_installed()
        self.num_jobs = array_parallelism
        self.timeout_min = timeout_min

    def _parameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"timeout_min": self.timeout_min}
