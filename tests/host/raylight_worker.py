"""A stand-in for Raylight's worker: an actor of Ray, in a process that has ComfyUI and nothing of the pack."""

import os
import pickle
import sys
import traceback
from datetime import timedelta


class RayWorker:
    """The methods of Raylight's that matter here, as it calls them: no callback, and not in inference mode. On the
    device and in the precision of the process that its results are compared to."""

    def __init__(self):
        sys.argv = ["main.py", *os.environ.get("SCOPE_COMFYUI_ARGS", "--cpu").split()]
        import comfy.options
        import torch

        comfy.options.enable_args_parsing()
        torch.backends.cudnn.allow_tf32 = False
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

    def work_off(self, jobs, rank, meeting, threads):
        """What came of each job, and the modules that were loaded for it. The last ones are done together with the
        other worker."""
        import torch
        import torch.distributed as dist

        results = {}
        torch.set_num_threads(threads)
        for name, job in jobs.items():
            if job["together"] and not dist.is_initialized():
                dist.init_process_group("gloo", meeting, rank=rank, world_size=2, timeout=timedelta(minutes=10))
            try:
                self.load_unet(job["path"], {"dtype": torch.float32})
                for prepare in job["prepare"]:
                    self.model_function_runner(pickle.loads(prepare))
                results[name] = self.custom_sampler(**job["sample"], sampler=pickle.loads(job["sampler"]))
            except Exception as error:  # noqa: BLE001 - it is what the test looks at
                traceback.print_exc()
                results[name] = f"{type(error).__name__}: {error}"
        dist.barrier()  # who ends first would break the connection of the other
        dist.destroy_process_group()
        return {"results": results, "loaded": sorted(sys.modules)}
