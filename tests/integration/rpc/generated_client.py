"""A client as somebody else writes one: from the contract alone, in a process that knows nothing of ours.

Arguments: HOST:PORT, the folder of the .proto file, a folder for what is made of it.
"""

import sys

import grpc
from grpc_tools import protoc


def main(place: str, contract: str, folder: str) -> None:
    status = protoc.main(
        ["", f"-I{contract}", f"--python_out={folder}", f"--grpc_python_out={folder}", f"{contract}/inference.proto"]
    )
    assert status == 0
    sys.path.insert(0, folder)
    import inference_pb2 as made  # pyright: ignore[reportMissingImports] - made above
    import inference_pb2_grpc as calls  # pyright: ignore[reportMissingImports] - made above

    with grpc.insecure_channel(place) as channel:
        mesh = calls.InferenceStub(channel)
        question = made.SubmitRequest(model="synthetic", messages=[made.Message(role="ROLE_USER", content="hello")])
        question.sampling.max_tokens = 12
        stream = mesh.Stream(question)
        head = [next(stream) for _ in range(3)]
        stream.cancel()
        tail = list(mesh.Resume(made.ResumeRequest(task=head[0].task, after_n=head[-1].n)))
        text = "".join(event.chunk.text for event in (*head, *tail))
        whole = mesh.Get(made.GetRequest(task=head[0].task))
        assert [event.n for event in (*head, *tail)] == list(range(1, whole.n + 1))
        assert text == whole.text
        assert whole.usage.completion_tokens == 12
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
