"""Our sampler in the workers of Raylight: actors of Ray in processes that have never loaded the pack, two of which
share a process group. A stand-in does what Raylight's worker does."""

import importlib.util
import json
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import comfy.sample
import comfy.samplers
import comfy.sd
import folder_paths
import pytest
import torch
from comfy.ldm.wan.model import repeat_e
from safetensors.torch import save_file
from scope_pack.nodes import raylight as node
from scope_pack.nodes.comfy import workers
from scope_pack.nodes.comfy.families import hosted
from scope_pack.nodes.comfy.latents import UnsuitableError
from scope_pack.nodes.comfy.loading import complete_model
from scope_pack.nodes.comfy.raylight import Prepare
from scope_pack.nodes.comfy.reports import ReportWriter, report_path
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.raylight import Raylight
from scope_pack.nodes.sampling import ScopeSamplerSelect
from scope_pack.scope_core import CAUSAL_WAN, FLOW, HELIOS, MAGI, SKYREELS
from scope_pack.scope_core.methods import Gate, Scope, TeaCache
from scope_pack.scope_core.ranks import highest, own
from scope_pack.scope_core.settings import PRESETS, Settings

spec = importlib.util.spec_from_file_location("tiny_wan", Path(__file__).parents[1] / "tiny_wan.py")
tiny_wan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_wan)

spec = importlib.util.spec_from_file_location("raylight_worker", Path(__file__).with_name("raylight_worker.py"))
stand_in = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stand_in)

STEPS = 8
CONTENT = Settings(Scope(tau_c=5, tau_p=10, decay_mode="none", signal="latent"), Gate(3, 1, 0))


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("raylight") / "tiny.safetensors"
    save_file(tiny_wan.weights(), path, tiny_wan.METADATA)
    return str(path)


def inputs(sigmas):
    with torch.inference_mode(False):
        noise = random(1, 16, 5, 8, 8)
        return {
            "noise": noise,
            "cfg": 3.0,
            "positive": [[random(1, 12, 64, seed=2), {}]],
            "negative": [[random(1, 9, 64, seed=3), {}]],
            "sigmas": sigmas.clone(),
            "latent": torch.zeros_like(noise),
        }


def sigmas_of(path, prepared):
    model = comfy.sd.load_diffusion_model(path, {"dtype": torch.float32})
    model = complete_model(model, [path], 24) if prepared else model
    return comfy.samplers.KSampler(model, STEPS, "cpu", "euler", "simple").sigmas


def here(path, prepare, sampler, sample):
    """The same in this process."""
    model = comfy.sd.load_diffusion_model(path, {"dtype": torch.float32})
    for change in prepare:
        model = change(model)
    sampler = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    asked = {"latent_image" if name == "latent" else name: value for name, value in sample.items()}
    return comfy.sample.sample_custom(model, sampler=sampler, **asked, disable_pbar=True, seed=5)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def actors():
    """Two workers in processes of their own."""
    ray = pytest.importorskip("ray")
    environment = {"PYTHONPATH": os.environ["SCOPE_COMFYUI"], "OMP_NUM_THREADS": str(torch.get_num_threads())}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env={"env_vars": environment},
    )
    yield [ray.remote(stand_in.RayWorker).remote() for _ in range(2)]
    ray.shutdown()


@pytest.fixture(scope="module")
def pair(actors, path, outputs, tmp_path_factory):
    """What both workers made of every job, and how it was asked for."""
    import ray

    meeting, frames = f"file://{tmp_path_factory.mktemp('pair') / 'meeting'}", Windows(block=2, ar_step=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "get_output_directory", lambda: str(outputs))
        skyreels, plain = Prepare([path], 24, None, ReportWriter("")), Prepare([], 24, None, ReportWriter(""))
        skip = Prepare([], 24, CONTENT, ReportWriter("ksampler"))
        jobs = {
            "one chunk": ([], VideoSampler(None, CONTENT, "euler", ReportWriter("one_chunk")), False),
            "frames": ([skyreels], VideoSampler(frames, CONTENT, "unipc", ReportWriter("frames")), False),
            "prepared twice": ([skip, skyreels], VideoSampler(frames, CONTENT, "unipc", ReportWriter("")), False),
            "accelerated": ([skip], "euler", False),
            "together": ([plain], VideoSampler(None, CONTENT, "euler", ReportWriter("together")), True),
            "broken": ([plain], VideoSampler(frames, CONTENT, "euler", ReportWriter("broken")), True),
        }
        with torch.inference_mode():
            sigmas = {prepared: sigmas_of(path, prepared) for prepared in (False, True)}
        asked = {
            name: (prepare, sampler, inputs(sigmas[skyreels in prepare]))
            for name, (prepare, sampler, _) in jobs.items()
        }
        sent = {
            name: {
                "path": path,
                "prepare": [pickle.dumps(change) for change in prepare],
                "sampler": pickle.dumps(sampler),
                "sample": sample,
                "together": jobs[name][2],
            }
            for name, (prepare, sampler, sample) in asked.items()
        }
    work = [actor.work_off.remote(sent, rank, meeting, torch.get_num_threads()) for rank, actor in enumerate(actors)]
    return asked, ray.get(work, timeout=1200)


@pytest.mark.parametrize("name", ["one chunk", "frames", "prepared twice", "accelerated", "together"])
def test_workers_make_what_this_process_makes(pair, path, name):
    asked, found = pair
    made = [worker["results"][name] for worker in found]
    assert not isinstance(made[0], str), made[0]
    assert torch.equal(*made) and torch.equal(made[0], here(path, *asked[name]))


def test_a_worker_has_neither_the_server_nor_the_nodes(pair):
    for worker in pair[1]:
        assert "server" not in worker["loaded"] and "scope_pack.nodes.sampling" not in worker["loaded"]
        assert "scope_pack.nodes.comfy.sampling" in worker["loaded"]


def test_the_first_worker_writes_the_report(pair, outputs):
    """Of a run in which steps were skipped, as its own process would."""
    written = {file.stem: json.loads(file.read_text()) for file in (outputs / "scope").glob("*.json")}
    assert set(written) == {"one_chunk", "frames", "ksampler", "together"}
    for report in written.values():
        assert 0 < report["totals"]["computed"] < report["totals"]["iterations"]


def test_an_error_in_a_worker_names_its_reason(pair):
    for worker in pair[1]:
        assert "this model makes the whole video at once" in worker["results"]["broken"]


def test_the_sampler_leaves_the_vae_at_home():
    sampler = VideoSampler(Windows(vae=object()), PRESETS["off"], "unipc", ReportWriter(""))
    assert pickle.loads(pickle.dumps(sampler)).unrolling == Windows() and sampler.unrolling.vae is not None


def test_runs_of_workers_are_not_kept(caplog):
    (sampler,) = ScopeSamplerSelect.execute("off", "unipc", "", resume=True).args
    there = pickle.loads(pickle.dumps(sampler))
    assert there.keep(None, None, {}) is None
    assert "resume has no effect" in caplog.text


def test_the_advanced_node_s_sampler_pickles():
    (sampler,) = ScopeSamplerSelect.execute("balanced", "unipc", "scope_run").args
    again = pickle.loads(pickle.dumps(sampler))
    assert (again.settings, again.solver, again.on_trace.path) == (
        PRESETS["balanced"],
        "unipc",
        report_path("scope_run"),
    )


class Actor:
    """A handle of a worker, as Ray gives it."""

    def __init__(self, worker):
        self.worker = worker
        self.model_function_runner = SimpleNamespace(
            remote=lambda fn: worker.model_function_runner(pickle.loads(pickle.dumps(fn)))
        )


@pytest.mark.parametrize("bundle", [lambda actors: actors, lambda actors: (actors, None)], ids=["dict", "with maker"])
def test_the_node_prepares_every_worker(path, monkeypatch, bundle):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=list))
    monkeypatch.setattr(node.loading, "model_paths", lambda name: [path])
    workers = [object.__new__(stand_in.RayWorker) for _ in range(2)]
    for worker in workers:
        worker.load_unet(path, {"dtype": torch.float32})
    actors = bundle({"workers": [Actor(worker) for worker in workers]})
    assert Raylight.execute(actors, "tiny.safetensors", "24", "").args == (actors,)
    assert all(hosted(SKYREELS).owns(worker.model) for worker in workers)
    Raylight.execute(actors, node.OTHER, "24", "", CONTENT)
    assert all(hosted(FLOW).owns(worker.model) for worker in workers)


def share(monkeypatch, **degrees):
    """A process group of so many, as xFuser would tell."""
    world = 1
    for degree in degrees.values():
        world *= degree
    state = ModuleType(workers.XFUSER)
    state.model_parallel_is_initialized = lambda: True
    state.get_sequence_parallel_world_size = lambda: degrees.get("sequence", 1)
    state.get_data_parallel_world_size = lambda: degrees.get("data", 1)
    monkeypatch.setitem(sys.modules, workers.XFUSER, state)
    monkeypatch.setattr(workers.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(workers.dist, "get_world_size", lambda group=None: world)
    monkeypatch.setattr(workers.dist, "get_rank", lambda group=None: world - 1)
    monkeypatch.setattr(workers.dist, "new_group", lambda ranks, **options: ranks)
    workers.group_of.cache_clear()
    return state


REFUSED = {
    "lag": (SKYREELS.schedule(9, STEPS, block=3, ar_step=2), "most tokens would get that of another frame"),
    "known start": (SKYREELS.schedule(9, STEPS, prefix=1), "most tokens would get that of another frame"),
    "long": (SKYREELS.schedule(45, STEPS), "most tokens would get that of another frame"),
    "causal": (SKYREELS.schedule(9, STEPS, block=3, causal=True), "takes no mask"),
    "causal Wan": (CAUSAL_WAN.schedule(9, STEPS), "chunks of Causal Wan read what was kept"),
    "MAGI-1": (MAGI.schedule(12, STEPS), "chunks of MAGI-1 read what was kept"),
    "Helios": (HELIOS.schedule(9, STEPS), "chunks of Helios read what was kept"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_comes_out_wrong_under_sequence_parallelism_is_refused(monkeypatch, name):
    schedule, why = REFUSED[name]
    family = hosted(schedule.family)
    workers.check(family, schedule, CONTENT)
    share(monkeypatch, cfg=2)
    workers.check(family, schedule, CONTENT)
    share(monkeypatch, sequence=2)
    with pytest.raises(UnsuitableError, match="2 GPUs") as error:
        workers.check(family, schedule, CONTENT)
    assert why in str(error.value)


@pytest.mark.parametrize(
    "schedule", [SKYREELS.schedule(9, STEPS), FLOW.schedule(5, STEPS)], ids=["frames", "one chunk"]
)
def test_frames_of_one_noise_level_are_not_refused(monkeypatch, schedule):
    share(monkeypatch, sequence=2)
    workers.check(hosted(schedule.family), schedule, CONTENT)
    with pytest.raises(
        UnsuitableError, match="TeaCache reuses inside the network, of which each of Raylight's GPUs"
    ) as told:
        workers.check(hosted(schedule.family), schedule, Settings(TeaCache(0.1)))
    named = set(str(told.value).rpartition(": ")[2].split(", "))
    assert {"planned", "scope", "easycache"} <= named and named.isdisjoint({"off", "teacache", "fbcache"})


def test_who_agrees_with_whom(monkeypatch):
    model, sharded = SimpleNamespace(), SimpleNamespace(patch_fsdp=None)
    assert workers.reduction(model) is own and workers.is_first()
    state = share(monkeypatch, sequence=2)
    assert workers.reduction(model).keywords == {"group": None} and not workers.is_first()
    share(monkeypatch, sequence=2, cfg=2, data=2)
    assert workers.reduction(model).keywords == {"group": [4, 5, 6, 7]}
    share(monkeypatch, data=2)
    assert workers.reduction(model) is own and workers.reduction(sharded) is highest
    state = share(monkeypatch, data=2)
    state.model_parallel_is_initialized = lambda: False
    assert workers.reduction(model) is own and workers.reduction(sharded) is highest
    monkeypatch.delitem(sys.modules, workers.XFUSER)
    assert workers.reduction(model) is highest


def test_a_part_of_the_tokens_gets_the_modulation_of_other_frames():
    """Why runs whose frames differ are refused: the host spreads the rows of all frames over what it is given, so three
    quarters of the tokens of two ranks get another's. Of equal rows nothing is wrong."""
    frames, tokens, ranks = 4, 6, 2
    rows = torch.arange(float(frames))[None, :, None]
    whole = torch.zeros(1, frames * tokens, 1)
    expected = repeat_e(rows, whole)
    shards = torch.cat([repeat_e(rows, shard) for shard in whole.chunk(ranks, 1)], 1)
    assert (shards != expected).float().mean() == 0.75
    assert torch.equal(repeat_e(rows * 0 + 3, whole.chunk(ranks, 1)[0]), expected[:, : len(expected[0]) // 2] * 0 + 3)


@pytest.mark.usefixtures("on_cpu")
def test_an_actor_of_ray_samples(actors, pair, path, monkeypatch):
    """The whole way through Ray: its pickling of fn and SAMPLER, and results back."""
    import ray

    actor = actors[0]
    ray.get(actor.load_unet.remote(path, {"dtype": torch.float32}))
    monkeypatch.setattr(node.loading, "model_paths", lambda name: [path])
    Raylight.execute({"workers": [actor]}, "tiny.safetensors", "24", "")
    sample = inputs(sigmas_of(path, True))
    sampler = VideoSampler(Windows(block=2, ar_step=2), CONTENT, "unipc", ReportWriter("ray"))
    made = ray.get(actor.custom_sampler.remote(**sample, sampler=sampler))
    prepare = [Prepare([path], 24, None, ReportWriter(""))]
    assert torch.equal(made, here(path, prepare, sampler, sample)) and report_path("ray").exists()
