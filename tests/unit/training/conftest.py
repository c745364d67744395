"""Tiny models of both families, data for them, and several ranks to train on."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import pytest
import torch

from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.models.base import Decoder, Encoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab
from seq2seq.training.parallel import Parallel, join

VOCAB = Vocab((*Vocab.special, *(f"w{i}" for i in range(9))))
PARTS: dict[str, tuple[type[Encoder], type[Decoder], dict[str, int]]] = {
    "transformer": (TransformerEncoder, TransformerDecoder, {"num_layers": 1, "num_heads": 2, "d_ff": 20}),
    "lstm": (LSTMEncoder, LSTMDecoder, {"num_layers": 1}),
}


@pytest.fixture(params=sorted(PARTS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., EncoderDecoder]:
    def make(family: str, dropout: float = 0.0) -> EncoderDecoder:
        encoder, decoder, sizes = PARTS[family]
        options = {**sizes, "d_model": 12, "dropout": dropout}
        torch.manual_seed(3)
        return EncoderDecoder(
            VOCAB,
            VOCAB,
            encoder=Factory(encoder, family, options),
            decoder=Factory(decoder, family, options),
            tie_embeddings="target",
        )

    return make


@pytest.fixture(scope="session")
def make_corpus() -> Callable[[int], EncodedCorpus]:
    """Random ids, 1 to 7 on a side; example i has the number i."""

    def make(size: int) -> EncodedCorpus:
        generator = np.random.default_rng(0)

        def rows() -> Rows:
            offsets = np.concatenate([[0], np.cumsum(generator.integers(1, 8, size))])
            return Rows((generator.integers(4, len(VOCAB), offsets[-1]).astype(np.int32), offsets))

        return EncodedCorpus(rows(), rows(), np.arange(size))

    return make


def on_ranks(number: int, work: Callable[[Parallel], Any]) -> list[Any]:
    """What `work` returns in each of `number` processes; None of one that has been killed. Raises what one raises.

    They are forked, so that they need not import torch again, and talk through gloo.
    """
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    context = multiprocessing.get_context("fork")

    def run(rank: int, end: Connection) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(number)}
        torch.set_num_threads(1)  # the threads of the process before the fork are not there
        parallel = join.__wrapped__()
        try:
            result = work(parallel)
        except Exception as error:
            result = error
        end.send(result)
        end.recv()  # ends when all have: the first rank keeps the store

    pipes = [context.Pipe() for _ in range(number)]
    processes = [context.Process(target=run, args=(rank, pipes[rank][1])) for rank in range(number)]
    for process in processes:
        process.start()
    results: list[Any] = [None] * number
    waiting = set(range(number))
    while waiting and not any(isinstance(result, Exception) for result in results):
        ready = wait([of_rank for rank in waiting for of_rank in (pipes[rank][0], processes[rank].sentinel)])
        for rank in sorted(waiting):
            if pipes[rank][0] in ready:
                results[rank] = pipes[rank][0].recv()
            if pipes[rank][0] in ready or processes[rank].sentinel in ready:
                waiting.remove(rank)
    for process in processes:
        process.kill()
        process.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@pytest.fixture(scope="session", name="on_ranks")
def on_ranks_fixture() -> Callable[..., list[Any]]:
    return on_ranks
