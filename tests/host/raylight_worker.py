"""A stand-in for Raylight's worker, in a process that has ComfyUI and nothing of the pack: `python raylight_worker.py
RANK FOLDER`. It does what is in FOLDER/jobs.pickle and writes what came of it."""

import pickle
import sys
import traceback
from datetime import timedelta
from pathlib import Path


class RayWorker:
    """The methods of Raylight's that matter here, as it calls them: no callback, and not in inference mode."""

    def __init__(self):
        sys.argv = ["main.py", "--cpu"]
        import comfy.options

        comfy.options.enable_args_parsing()
        self.model = None

    def load_unet(self, unet_path, model_options):
        import comfy.sd

        self.model = comfy.sd.load_diffusion_model(unet_path, model_options=model_options)

    def model_function_runner(self, fn, *args, **kwargs):
        self.model = fn(self.model, *args, **kwargs)

    def custom_sampler(self, noise, cfg, positive, negative, sampler, sigmas, latent):
        import comfy.sample
        import comfy.samplers
        import torch

        if isinstance(sampler, str):
            sampler = comfy.samplers.sampler_object(sampler)
        with torch.no_grad():
            return comfy.sample.sample_custom(
                self.model, noise, cfg, sampler, sigmas, positive, negative, latent, disable_pbar=True, seed=5
            )


def main(rank, folder):
    import torch
    import torch.distributed as dist

    worker, results, asked = RayWorker(), [], pickle.loads((folder / "jobs.pickle").read_bytes())
    torch.set_num_threads(asked["threads"])
    for name, job in asked["jobs"].items():
        if job["together"] and not dist.is_initialized():
            meeting = f"file://{folder / 'meeting'}"
            dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120))
        try:
            worker.load_unet(job["path"], {"dtype": torch.float32})
            for prepare in job["prepare"]:
                worker.model_function_runner(pickle.loads(prepare))
            made = worker.custom_sampler(**{**job["sample"], "sampler": pickle.loads(job["sampler"])})
            results.append((name, made))
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            traceback.print_exc()
            results.append((name, f"{type(error).__name__}: {error}"))
    found = {"results": dict(results), "loaded": sorted(sys.modules)}
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    if dist.is_initialized():
        dist.barrier()  # who ends first would break the connection of the other
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
