"""How long random tests look: `HYPOTHESIS_PROFILE` is quick (default), ci or deep."""

import os

from hypothesis import HealthCheck, Phase, settings

WITHOUT_EXPLAINING = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)

for name, examples, steps in (("quick", 150, 25), ("ci", 1_000, 40), ("deep", 20_000, 60)):
    settings.register_profile(
        name,
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,  # a busy machine is no fault
        phases=WITHOUT_EXPLAINING,
        suppress_health_check=(HealthCheck.too_slow,),
        print_blob=True,
        derandomize=name == "quick",
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
