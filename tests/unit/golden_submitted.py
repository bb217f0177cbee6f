"""What was asked: the submissions among the golden files."""

from streams.events import CheckOf, TaskSubmitted
from streams.stores.events import Attribute
from streams.stores.messages import FoundPassage
from streams.stores.passages import Place
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, TokenBias, ToolCall
from streams.tasks.grounding import FileSearch, Grounding, Searched, Source
from streams.tasks.placing import Redaction, Rules
from streams.tasks.response_terms import MetadataPair, ResponseTerms
from streams.tasks.tools import Function, OutputFormat, Tools

REDACTIONS: tuple[Redaction, ...] = ("off", "standard", "strict")
_MODEL = "smollm2-135m-instruct"

SUBMITTED = {
    "task.submitted.v1": TaskSubmitted(
        model="org/Modèle 7B:q4",
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="developer", content="Answer in verse."),
            Message(role="user", content="Grüße, 世界 🙂\r\n\0", name="ada"),
            Message(role="assistant", content=""),
            Message(role="tool", content="42"),
        ),
        sampling=Sampling(
            max_tokens=1_000_000,
            temperature=2.0,
            top_p=1.0,
            seed=-(2**63),
            stop=("\n\n", "END", "。", "4"),
            presence_penalty=-2.0,
            frequency_penalty=2.0,
        ),
        deadline_at_ms=253_402_300_799_999,
    ),
    "task.submitted.v1.redrive": TaskSubmitted(
        model=_MODEL, messages=(Message(role="user", content="hi"),), redrive_of="019b7a3e00007abc8def012345678900"
    ),
    "task.submitted.v1.check": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="hi"),),
        sampling=Sampling(temperature=0.0),
        check_of=CheckOf(
            account="local",
            task="019b7a3e00007abc8def012345678900",
            node="node-a",
            engine="xllamacpp",
            quantisation="Q4_1",
            other="node-b",
            other_task="019b7a3e00007abc8def012345678901",
        ),
    ),
    "task.submitted.v1.ruled": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="hi"),),
        rules=Rules(policy="private", region="eu", highest_price_micro=2_000_000, lowest_reputation=0.5),
    ),
    **{
        f"task.submitted.v1.redaction_{level}": TaskSubmitted(
            model=_MODEL, messages=(Message(role="user", content="hi"),), rules=Rules(redaction=level)
        )
        for level in REDACTIONS
    },
    "task.submitted.v1.raw": TaskSubmitted(model=_MODEL, prompt="Es war einmal 🙂\n", sampling=Sampling(max_tokens=16)),
    "task.submitted.v1.response": TaskSubmitted(
        model=_MODEL,
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content="hi"),
            Message(role="assistant", content="Hello."),
            Message(role="user", content="And now?"),
        ),
        response=ResponseTerms(
            previous="019b7a3e00007abc8def012345678900",
            instructed=True,
            earlier=2,
            metadata=(MetadataPair(name="topic", text="Grüße"),),
            stored=False,
            background=True,
        ),
    ),
    "task.submitted.v1.tools": TaskSubmitted(
        model=_MODEL,
        messages=(
            Message(
                role="user",
                content="What is this?",
                parts=(
                    TextPart(text="What is this?"),
                    ImagePart(media_type="image/png", data=b"\x89PNG", detail="low"),
                ),
            ),
            Message(
                role="assistant",
                content="",
                tool_calls=(ToolCall(id="call_1", name="look-up", arguments='{"place":"Zürich"}'),),
            ),
            Message(role="tool", content="4 °C", tool_call_id="call_1"),
        ),
        sampling=Sampling(logit_bias=(TokenBias(token=42, bias=-100.0),), top_logprobs=20),
        tools=Tools(
            functions=(
                Function(name="look-up", description="Looks up.", parameters_json='{"type":"object"}', strict=True),
            ),
            choice="named",
            name="look-up",
            parallel=False,
        ),
        format=OutputFormat(kind="json_schema", name="weather", schema_json='{"type":"object"}', strict=False),
    ),
    "task.submitted.v1.tool-required": TaskSubmitted(
        model=_MODEL,
        messages=(
            Message(role="user", content="", parts=(ImagePart(media_type="image/jpeg", data=b"", detail="high"),)),
        ),
        tools=Tools(functions=(Function(name="f"),), choice="required"),
        format=OutputFormat(kind="json_object"),
    ),
    "task.submitted.v1.tool-none": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="hi"),),
        tools=Tools(functions=(Function(name="f"),), choice="none"),
    ),
    "task.submitted.v1.minimal": TaskSubmitted(model=_MODEL, messages=(Message(role="user", content="hi"),)),
    "task.submitted.v1.key": TaskSubmitted(
        model=_MODEL, messages=(Message(role="user", content="hi"),), key="k7Qx2mP9"
    ),
    "task.submitted.v1.texts": TaskSubmitted(model=_MODEL, texts=("Grüße, 世界 🙂", "two"), dimensions=256),
    "task.submitted.v1.empty": TaskSubmitted(model=_MODEL),
    "task.submitted.v1.grounded": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="FOUND Why is the sea salty?"),),
        grounding=Grounding(
            search=FileSearch(
                stores=("vs_1", "vs_2"),
                limit=3,
                filter_json='{"type":"eq","key":"topic","value":"sea"}',
                ranking="hybrid",
                threshold=0.25,
                shows_results=True,
            ),
            query="Why is the sea salty?",
            sources=(
                Source(
                    found=FoundPassage(
                        store="vs_1",
                        file="file-019b7a3e00007abc8def012345678900",
                        filename="Grüße.md",
                        attributes=(
                            Attribute(name="topic", value="sea"),
                            Attribute(name="year", value=1999.0),
                            Attribute(name="done", value=True),
                        ),
                        score=0.75,
                        text="Rivers carry salt into the sea.",
                        place=Place(first=10, last=41, page=2, heading=("Water", "Salt")),
                    ),
                    number=1,
                ),
                Source(
                    found=FoundPassage(
                        store="vs_2",
                        file="file-1",
                        filename="b.txt",
                        attributes=(),
                        score=0.0,
                        text="No.",
                        place=Place(first=0, last=3),
                    )
                ),
            ),
            message=0,
            chars=6,
        ),
    ),
    "task.submitted.v1.grounded-lexical": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="Why?"),),
        grounding=Grounding(search=FileSearch(stores=("vs_1",), ranking="lexical"), query="Why?", message=0, chars=0),
    ),
    "task.submitted.v1.grounded-again": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="Why?"),),
        grounding=Grounding(
            search=FileSearch(stores=("vs_1",)),
            query="Why?",
            message=0,
            chars=0,
            again=(
                Searched(query="salt in rivers"),
                Searched(
                    query="Flüsse",
                    sources=(
                        Source(
                            found=FoundPassage(
                                store="vs_1",
                                file="file-1",
                                filename="a.md",
                                attributes=(Attribute(name="year", value=1999.0),),
                                score=1.0,
                                text="Rivers carry salt.",
                                place=Place(first=0, last=18, page=2, heading=("Salt",)),
                            ),
                            number=1,
                        ),
                    ),
                ),
            ),
        ),
        response=ResponseTerms(max_tool_calls=3),
    ),
    "task.submitted.v1.grounded-dense": TaskSubmitted(
        model=_MODEL,
        messages=(Message(role="user", content="Why?"),),
        grounding=Grounding(search=FileSearch(stores=("vs_1",), ranking="dense"), query="Why?", message=0, chars=0),
    ),
}
