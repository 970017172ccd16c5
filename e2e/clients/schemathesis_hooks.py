"""Hooks for schemathesis: requests that would stay open by design are asked as plain reads."""

import schemathesis


@schemathesis.hook
def map_query(context, query):
    """A watch has no end and no single document; the generator only means to ask."""
    for name in ("watch", "sendInitialEvents"):
        if query:
            query.pop(name, None)
    return query
