"""Malformed chat requests as data: what is sent, and the status, code and parameter that it is refused with.

The mesh that they are sent to has one node, whose engine writes plain text and can do nothing else.
"""

from tests.http_gateway import MODEL, chat
from tests.integration.malformed_calls import CALLS
from tests.integration.malformed_parts import (
    DEEP,
    MISSING,
    OK,
    PICTURE,
    PNG,
    SCHEMA,
    TYPE,
    UNSUPPORTED,
    VALUE,
    Bad,
    message,
    parts,
    picture,
    schema,
)

PLAIN = [
    Bad(name="empty", raw=b"", code="invalid_json"),
    Bad(name="no json", raw=b"hello", code="invalid_json"),
    Bad(name="half a json", raw=b'{"model": "synth', code="invalid_json"),
    Bad(name="two jsons", raw=b"{%b} {}" % OK.encode(), code="invalid_json"),
    Bad(name="an array", raw=b"[]", code="invalid_type"),
    Bad(name="null", raw=b"null", code="invalid_type"),
    Bad(name="not utf-8", raw=b'{"model": "\xff\xfe"}', code="invalid_json"),
    Bad(name="half a surrogate pair", raw=b'{"model": "\\ud800"}', code="invalid_json"),
    Bad(name="a byte order mark", raw="\ufeff{}".encode(), code="invalid_json"),
    Bad(name="nested for ever", raw=b'{"x":' + b"[" * 50_000, code="invalid_json"),
    Bad(name="NaN", raw=b'{%b,"temperature":NaN}' % OK.encode(), code="invalid_json"),
    Bad(name="Infinity", raw=b'{%b,"temperature":Infinity}' % OK.encode(), code="invalid_json"),
    Bad(name="a number out of range", raw=b'{%b,"temperature":1e999}' % OK.encode(), param="temperature"),
    Bad(name="nothing", body={}, code="missing_required_parameter", param="model"),
    Bad(name="no messages", body={"model": MODEL}, code="missing_required_parameter", param="messages"),
    Bad(name="model of a wrong type", body=chat(model=5), code="invalid_type", param="model"),
    Bad(name="empty model", body=chat(model=""), param="model"),
    Bad(name="endless model", body=chat(model="x" * 300), param="model"),
    Bad(name="unknown model", body=chat(model="gpt-99"), status=404, code="model_not_found", param="model"),
    Bad(name="model with a wildcard", body=chat(model="*"), status=404, code="model_not_found", param="model"),
    Bad(name="model as a subject", body=chat(model="a.b >"), status=404, code="model_not_found", param="model"),
    Bad(name="empty messages", body=chat(messages=[]), param="messages"),
    Bad(name="messages as text", body=chat(messages="hello"), code="invalid_type", param="messages"),
    Bad(name="a message as text", body=chat(messages=["hello"]), code="invalid_type", param="messages[0]"),
    Bad(name="no role", body=message(content="x"), code="missing_required_parameter", param="messages[0].role"),
    Bad(name="bad role", body=message(role="robot", content="x"), param="messages[0].role"),
    Bad(name="no content", body=message(role="user"), code="missing_required_parameter", param="messages[0].content"),
    Bad(name="null content", body=message(role="user", content=None), code="invalid_type", param="messages[0].content"),
    Bad(name="hot", body=chat(temperature=2.1), param="temperature"),
    Bad(name="cold", body=chat(temperature=-0.1), param="temperature"),
    Bad(name="temperature as text", body=chat(temperature="1"), code="invalid_type", param="temperature"),
    Bad(name="top_p of nothing", body=chat(top_p=0), param="top_p"),
    Bad(name="no tokens", body=chat(max_tokens=0), param="max_tokens"),
    Bad(name="half a token", body=chat(max_tokens=1.5), code="invalid_type", param="max_tokens"),
    Bad(name="too many tokens", body=chat(max_completion_tokens=10**30), param="max_completion_tokens"),
    Bad(name="a seed of 128 bits", body=chat(seed=2**127), param="seed"),
    Bad(name="five stops", body=chat(stop=["a", "b", "c", "d", "e"]), param="stop"),
    Bad(name="an empty stop", body=chat(stop=[""]), param="stop[0]"),
    Bad(name="penalty", body=chat(presence_penalty=3), param="presence_penalty"),
    Bad(name="stream as text", body=chat(stream="yes"), code="invalid_type", param="stream"),
    Bad(name="stream options alone", body=chat(stream_options={"include_usage": True}), param="stream_options"),
    Bad(name="audio", body=chat(audio={"voice": "x"}), code=UNSUPPORTED, param="audio"),
    Bad(name="service tier", body=chat(service_tier="gold"), param="service_tier"),
]


PARTS = [
    Bad(name="a part as text", body=parts("hello"), code=TYPE, param="messages[0].content[0]"),
    Bad(name="a part of no type", body=parts({"text": "x"}), code=MISSING, param="messages[0].content[0].type"),
    Bad(name="a part of no text", body=parts({"type": "text"}), code=MISSING, param="messages[0].content[0].text"),
    Bad(
        name="a part of null",
        body=parts({"type": "text", "text": None}),
        code=TYPE,
        param="messages[0].content[0].text",
    ),
    Bad(
        name="sound",
        body=parts({"type": "input_audio", "input_audio": {}}),
        code=VALUE,
        param="messages[0].content[0].type",
    ),
    Bad(name="a file", body=parts({"type": "file", "file": {}}), code=VALUE, param="messages[0].content[0].type"),
    Bad(
        name="a refusal of a user",
        body=parts({"type": "refusal", "refusal": "no"}),
        param="messages[0].content[0].type",
    ),
    Bad(
        name="a picture of the system",
        body=parts({"type": "image_url", "image_url": {"url": PNG}}, role="system"),
        param="messages[0].content[0].type",
    ),
    Bad(
        name="a picture of nothing",
        body=parts({"type": "image_url"}),
        code=MISSING,
        param="messages[0].content[0].image_url",
    ),
    Bad(
        name="a picture as text",
        body=parts({"type": "image_url", "image_url": PNG}),
        code=TYPE,
        param="messages[0].content[0].image_url",
    ),
    Bad(name="a picture of an empty url", body=picture(""), param="messages[0].content[0].image_url.url"),
    Bad(name="a picture of no url", body=picture("hello"), code=PICTURE, param="messages[0].content[0].image_url.url"),
    Bad(
        name="a picture of a file",
        body=picture("file:///etc/passwd"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture of a script",
        body=picture("javascript:alert(1)"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture that is no base64",
        body=picture("data:image/png;base64,!!!!"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture of half a base64",
        body=picture(PNG[:-1]),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture in plain letters",
        body=picture("data:image/png,hello"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture of no bytes",
        body=picture("data:image/png;base64,"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture that is text",
        body=picture("data:image/png;base64,aGVsbG8="),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="a picture that is a drawing",
        body=picture("data:image/svg+xml;base64,PHN2Zy8+"),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    *(
        Bad(name=f"a picture at {url}", body=picture(url), code=PICTURE, param="messages[0].content[0].image_url.url")
        for url in (
            "https://127.0.0.1/x.png",
            "https://[::1]/x.png",
            "https://[::ffff:8.8.8.8]/x.png",
            "https://169.254.169.254/latest",
            "https://user:secret@example.org/x.png",
            "https://example.org:22/x.png",
            "http://example.org/x.png",
            "https:///x.png",
            "https://[bad/x.png",
            "gopher://example.org/",
        )
    ),
    Bad(
        name="a picture at a url without end",
        body=picture("https://example.org/" + "x" * 2048),
        code=PICTURE,
        param="messages[0].content[0].image_url.url",
    ),
    Bad(
        name="more pictures to fetch than there may be",
        body=parts(
            *({"type": "image_url", "image_url": {"url": f"https://example.org/{n}.png"}} for n in range(9)),
        ),
        code=PICTURE,
        param="messages[0].content[8].image_url.url",
    ),
    Bad(
        name="a picture elsewhere that nobody sees",
        body=picture("https://example.org/x.png"),
        code=VALUE,
        param="messages",
    ),
    Bad(
        name="a detail that is none", body=picture(PNG, detail="fine"), param="messages[0].content[0].image_url.detail"
    ),
    Bad(name="a picture that nobody sees", body=picture(PNG), code=VALUE, param="messages"),
]

FORMATS = [
    Bad(name="a format as text", body=chat(response_format="json"), code=TYPE, param="response_format"),
    Bad(name="a format of no type", body=chat(response_format={}), code=MISSING, param="response_format.type"),
    Bad(
        name="a format that is none",
        body=chat(response_format={"type": "xml"}),
        code=VALUE,
        param="response_format.type",
    ),
    Bad(
        name="a grammar",
        body=chat(response_format={"type": "grammar", "grammar": "x"}),
        code=VALUE,
        param="response_format.type",
    ),
    Bad(
        name="a schema of nothing",
        body=chat(response_format={"type": "json_schema"}),
        code=MISSING,
        param="response_format.json_schema",
    ),
    Bad(
        name="a schema of no name",
        body=chat(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
        code=MISSING,
        param="response_format.json_schema.name",
    ),
    Bad(name="a schema of a bad name", body=schema({}, name="a b"), param="response_format.json_schema.name"),
    Bad(
        name="a name alone",
        body=chat(response_format={"type": "json_schema", "json_schema": {"name": "s"}}),
        code=MISSING,
        param=SCHEMA,
    ),
    Bad(name="a schema of null", body=schema(None), code=MISSING, param=SCHEMA),
    Bad(name="a schema as text", body=schema("object"), param=SCHEMA),
    Bad(name="a schema of true", body=schema(True), param=SCHEMA),
    Bad(
        name="a strict schema of text",
        body=schema({}, strict="yes"),
        code=TYPE,
        param="response_format.json_schema.strict",
    ),
    Bad(name="a schema from elsewhere", body=schema({"$ref": "http://169.254.169.254/"}), param=SCHEMA),
    Bad(name="a schema too deep", body=schema(DEEP), param=SCHEMA),
    Bad(
        name="a schema of too many properties",
        body=schema({"properties": {f"p{n}": {} for n in range(1001)}}),
        param=SCHEMA,
    ),
    Bad(name="a schema of a large enum", body=schema({"enum": list(range(1001))}), param=SCHEMA),
    Bad(name="a schema of a long list", body=schema({"type": "array", "minItems": 10**9}), param=SCHEMA),
    Bad(name="a pattern that explodes", body=schema({"pattern": "((x{900}){900}){900}"}), param=SCHEMA),
    Bad(name="a schema of an unknown type", body=schema({"type": "map"}), param=SCHEMA),
    Bad(
        name="an object that nobody can promise",
        body=chat(response_format={"type": "json_object"}),
        code=VALUE,
        param="response_format",
    ),
    Bad(
        name="a schema that nobody can keep to",
        body=schema({"type": "object"}, strict=True),
        code=VALUE,
        param="response_format",
    ),
]

TOKENS = [
    Bad(name="logprobs of text", body=chat(logprobs="yes"), code=TYPE, param="logprobs"),
    Bad(name="logprobs of a number", body=chat(logprobs=5), code=TYPE, param="logprobs"),
    Bad(name="top logprobs alone", body=chat(top_logprobs=2), param="top_logprobs"),
    Bad(name="too many top logprobs", body=chat(logprobs=True, top_logprobs=21), param="top_logprobs"),
    Bad(name="top logprobs below nothing", body=chat(logprobs=True, top_logprobs=-1), param="top_logprobs"),
    Bad(name="logprobs that nobody has", body=chat(logprobs=True), code=UNSUPPORTED, param="logprobs"),
    Bad(name="a bias as a list", body=chat(logit_bias=[5]), code=TYPE, param="logit_bias"),
    Bad(name="a bias on a word", body=chat(logit_bias={"hello": 1}), param="logit_bias"),
    Bad(name="a bias on less than a token", body=chat(logit_bias={"-1": 1}), param="logit_bias"),
    Bad(name="a bias on more than a token", body=chat(logit_bias={str(2**31): 1}), param="logit_bias"),
    Bad(name="a bias of text", body=chat(logit_bias={"5": "much"}), code=TYPE, param="logit_bias"),
    Bad(name="a bias too strong", body=chat(logit_bias={"5": 101}), param="logit_bias"),
    Bad(name="too many biases", body=chat(logit_bias={str(n): 1 for n in range(1025)}), param="logit_bias"),
    Bad(name="a bias that nobody takes", body=chat(logit_bias={"5": 1}), code=UNSUPPORTED, param="logit_bias"),
]

CHOICES = [
    Bad(name="two choices", body=chat(n=2), code=VALUE, param="n"),
    Bad(name="no choice", body=chat(n=0), code=VALUE, param="n"),
    Bad(name="metadata as a list", body=chat(metadata=[]), code=TYPE, param="metadata"),
    Bad(name="metadata of a number", body=chat(metadata={"a": 5}), code=TYPE, param="metadata"),
    Bad(name="too much metadata", body=chat(metadata={str(n): "" for n in range(17)}), param="metadata"),
    Bad(name="metadata of a long name", body=chat(metadata={"x" * 65: ""}), param="metadata"),
    Bad(name="long metadata", body=chat(metadata={"a": "x" * 513}), param="metadata"),
    Bad(name="a user of a number", body=chat(user=5), code=TYPE, param="user"),
    Bad(name="a store of text", body=chat(store="yes"), code=TYPE, param="store"),
    Bad(name="speech", body=chat(modalities=["text", "audio"]), code=VALUE, param="modalities[1]"),
    Bad(name="reasoning", body=chat(reasoning_effort="high"), code=VALUE, param="reasoning_effort"),
    Bad(name="a prediction", body=chat(prediction={"type": "content"}), code=UNSUPPORTED, param="prediction"),
    Bad(name="a search", body=chat(web_search_options={}), code=UNSUPPORTED, param="web_search_options"),
]

BODIES = [*PLAIN, *CALLS, *PARTS, *FORMATS, *TOKENS, *CHOICES]
