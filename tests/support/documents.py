"""Documents drawn from a JSON Schema, for hypothesis."""

from hypothesis import strategies as st

ODD = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.text(max_size=5), st.lists(st.integers(), max_size=2))
NAMES = ["a", "all", "host", "web_1", "true", "1"]
TEXTS = [
    *NAMES,
    "",
    "always",
    "every_1d",
    "service_started",
    "bind",
    "z",
    "10s",
    "64m",
    "80",
    "8080:80",
    "./a:/b",
    "a=b",
    "a:1.2.3.4",
]
NUMBERS = st.one_of(st.integers(-1001, 1001), st.sampled_from([0.5, 1.0, -3.0, 1e3]))
KEYS = st.sampled_from(["web", "x-a", "a b", "", "nofile", "NOFILE", "A.b-c_1"])
SIMPLE = {"integer": NUMBERS, "number": NUMBERS, "boolean": st.booleans(), "null": st.none()}


@st.composite
def alike(draw, schema, document, depth=0, is_odd=True, texts=TEXTS):
    """Values of the shape of a schema within `document`: mostly what it asks for, with `is_odd` at times something else."""
    shape = {"is_odd": is_odd, "texts": texts}
    while "$ref" in schema:
        schema = document["$defs"][schema["$ref"].rpartition("/")[2]]
    if is_odd and depth and draw(st.integers(0, 11)) == 0:
        return draw(ODD)
    if "enum" in schema:
        return draw(st.sampled_from([*schema["enum"], "odd"] if is_odd else schema["enum"]))
    if "oneOf" in schema:
        return draw(alike(draw(st.sampled_from(schema["oneOf"])), document, depth, **shape))
    kinds = schema.get("type", "string")
    kind = draw(st.sampled_from([kinds] if isinstance(kinds, str) else kinds))
    if kind == "array":
        items = alike(schema["items"], document, depth + 1, **shape)
        return draw(st.lists(items, max_size=3) if is_odd else st.lists(items, min_size=1, max_size=3, unique_by=repr))
    if kind != "object":
        return draw(SIMPLE[kind] if kind in SIMPLE else st.sampled_from(texts))
    found = {}
    known = schema.get("properties", {})
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True)) if known else []
    for key in [*chosen, *(each for each in schema.get("required", ()) if not is_odd or draw(st.integers(0, 5)))]:
        found[key] = draw(alike(known[key], document, depth + 1, **shape))
    for child in schema.get("patternProperties", {}).values():
        for key in draw(st.lists(KEYS, max_size=2, unique=True)):
            found[key] = draw(alike(child, document, depth + 1, **shape)) if child else draw(ODD)
    return found
