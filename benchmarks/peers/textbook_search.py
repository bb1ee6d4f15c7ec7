"""Translate with the textbook model, as a tutorial writes it: a loop over time in Python, every hypothesis a row.

    python -m benchmarks.peers.textbook_search --data build/peers/data --model FILE --source FILE --beam 5 --batch 64

--updates N trains the model first and saves it, unless FILE exists. Sources are pieces, a line each, sorted by length
into batches. Prints seconds and tokens as JSON; seconds are those of the search alone.

Shapes: B sentences, K hypotheses, S source length, H hidden, V pieces; rows are B · K.
"""

import argparse
import itertools
import json
import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from benchmarks.peers.textbook import BOS, EOS, PAD, UNK, Seq2Seq, batches, load, train


@torch.no_grad()
def search(model: Seq2Seq, sources: list[Tensor], beam: int, longest: int) -> list[list[int]]:
    """The best output of each source, `</s>` included. A hypothesis that has ended goes on with padding for free."""
    source = pad_sequence(sources, batch_first=True, padding_value=PAD)
    memory, (hidden, cell) = model.encoder(source, (source != PAD).sum(1))
    count, decoder = len(sources), model.decoder
    memory, mask = memory.repeat_interleave(beam, 0), (source == PAD).repeat_interleave(beam, 0)
    state = hidden.repeat_interleave(beam, 1), cell.repeat_interleave(beam, 1)
    keys, fed = decoder.general(memory), torch.zeros_like(memory[:, 0])
    words = torch.full((count * beam, 1), BOS)
    scores = torch.full((count, beam), float("-inf"))
    scores[:, 0] = 0
    ended = torch.zeros(count * beam, dtype=torch.bool)
    first = torch.arange(count).unsqueeze(1) * beam
    for _ in range(longest):
        query, state = decoder.layers(torch.cat([decoder.embedding(words[:, -1]), fed], dim=1), state)
        energies = torch.bmm(keys, query.unsqueeze(2)).squeeze(2).masked_fill(mask, float("-inf"))
        context = torch.bmm(F.softmax(energies, dim=1).unsqueeze(1), memory).squeeze(1)
        fed = torch.tanh(decoder.combine(torch.cat([context, query], dim=1)))
        gains = F.log_softmax(decoder.output(fed), dim=1)
        gains[ended] = float("-inf")
        gains[ended, PAD] = 0
        sums = (scores.view(-1, 1) + gains).view(count, -1)
        scores, best = sums.topk(beam, dim=1)
        rows = (first + best // gains.shape[1]).view(-1)
        chosen = (best % gains.shape[1]).view(-1, 1)
        words = torch.cat([words[rows], chosen], dim=1)
        state, fed = (state[0][:, rows], state[1][:, rows]), fed[rows]
        ended = ended[rows] | (chosen[:, 0] == EOS)
        if bool(ended.all()):
            break
    found = words.view(count, beam, -1)[:, 0, 1:].tolist()
    return [[word for word in row if word != PAD] for row in found]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=300, help="of a model that is not there yet")
    parser.add_argument("--source", type=Path, help="pieces, a line each")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--longest", type=int, default=60)
    given = parser.parse_args()
    random.seed(1)
    torch.manual_seed(1)
    pairs, vocabulary = load(given.data)
    model = Seq2Seq(vocabulary)
    if given.model.exists():
        model.load_state_dict(load_file(given.model))
    else:
        train(model, itertools.islice(batches(pairs, by_length=True), given.updates), bf16=False)
        save_file(model.state_dict(), given.model)
    if given.source is None:
        return
    model.eval()
    pieces = (given.data / "pieces.txt").read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    ids = {piece: index for index, piece in enumerate(pieces)}
    lines = given.source.read_text(encoding="utf-8").splitlines()
    sources = [torch.tensor([*(ids.get(piece, UNK) for piece in line.split()), EOS]) for line in lines]
    if given.batch > 1:
        sources.sort(key=len)
    search(model, sources[:3], given.beam, given.longest)
    began, tokens = time.perf_counter(), 0
    for at in range(0, len(sources), given.batch):
        found = search(model, sources[at : at + given.batch], given.beam, given.longest)
        tokens += sum(map(len, found))
    print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}))


if __name__ == "__main__":
    main()
