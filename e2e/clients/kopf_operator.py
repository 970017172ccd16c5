"""An operator written with kopf: greets what it is told to greet, in the status of custom resources.

Run by `kopf run`. Uses what kopf does by itself: watches, finalizers, patches of status, events.
"""

import kopf

GROUP, VERSION, PLURAL = "example.gantry.dev", "v1", "greetings"


@kopf.on.create(GROUP, VERSION, PLURAL)
def greet(body, spec, patch, **_):
    patch.status["said"] = f"hello {spec['who']}"
    kopf.event(body, type="Normal", reason="Greeted", message=f"hello {spec['who']}")


@kopf.on.update(GROUP, VERSION, PLURAL, field="spec.who")
def correct(old, new, patch, **_):
    patch.status["said"] = f"not {old} but {new}"


@kopf.on.delete(GROUP, VERSION, PLURAL)
def leave(name, logger, **_):
    logger.info(f"goodbye {name}")


@kopf.on.event("", "v1", "configmaps", labels={"greeted": "yes"})
def seen(type, name, logger, **_):
    logger.info(f"configmap {name} {type}")
