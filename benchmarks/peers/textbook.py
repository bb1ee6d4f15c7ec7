"""The job as a tutorial writes it in PyTorch: a loop over time in Python, nothing clever, nothing wasteful.

    python textbook.py --data build/peers/data [--sorted] [--bf16] [--nn-lstm]

Bidirectional LSTM encoder on packed sequences, LSTMCells one after the other, Luong's general attention, input
feeding. --nn-lstm: the decoder's layers are one nn.LSTM, called for one step at a time, as toolkits also do. Batches
are 64 random pairs; with --sorted, 64 pairs of about the same length. Trains until it is stopped.

Shapes: B sentences, S source length, T target length, E = H hidden and embedding, V pieces.
"""

import argparse
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

UNK, BOS, EOS, PAD = range(4)
BATCH, SIZE, CLIP = 64, 512, 5.0
LAYERS, DROPOUT, RATE = 2, 0.3, 1e-3

Pair = tuple[Tensor, Tensor]
State = tuple[Tensor, Tensor]  # hidden and cell, each [layers, B, H]


class Encoder(nn.Module):
    """Both directions, H/2 each, so that a state of both fits the decoder."""

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=PAD)
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(size, size // 2, LAYERS, dropout=DROPOUT, bidirectional=True, batch_first=True)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """source [B, S] → memory [B, S, H] and the last states of both directions side by side."""
        embedded = self.dropout(self.embedding(source))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, (hidden, cell) = self.lstm(packed)
        memory, _ = pad_packed_sequence(outputs, batch_first=True)

        def join(state: Tensor) -> Tensor:
            return torch.cat([state[0::2], state[1::2]], dim=2)

        return memory, (join(hidden), join(cell))


class Cells(nn.Module):
    """Stacked LSTMCells for one step; the same weights, inputs and outputs as nn.LSTM with one step."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(inputs if i == 0 else size, size) for i in range(LAYERS))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, 2H] → output of the last layer [B, H] and the new state."""
        hidden, cell = [], []
        for i, one in enumerate(self.cells):
            h, c = one(x, (state[0][i], state[1][i]))
            hidden.append(h)
            cell.append(c)
            x = self.dropout(h) if i < LAYERS - 1 else h
        return x, (torch.stack(hidden), torch.stack(cell))


class OneStep(nn.Module):
    """nn.LSTM called with sequences of length one."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, size, LAYERS, dropout=DROPOUT, batch_first=True)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, 2H] → output of the last layer [B, H] and the new state."""
        output, state = self.lstm(x.unsqueeze(1), state)
        return output.squeeze(1), state


class Decoder(nn.Module):
    """Input feeding: the attentional vector of one step is an input of the next (Luong et al. 2015, 3.3)."""

    def __init__(self, vocabulary: int, size: int, *, nn_lstm: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=PAD)
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = (OneStep if nn_lstm else Cells)(2 * size, size)
        self.general = nn.Linear(size, size, bias=False)
        self.combine = nn.Linear(2 * size, size, bias=False)
        self.output = nn.Linear(size, vocabulary)

    def forward(self, target: Tensor, memory: Tensor, mask: Tensor, state: State) -> Tensor:
        """target [B, T] (from <s> on), memory [B, S, H], mask [B, S] (true: padding) → logits [B, T, V]."""
        keys = self.general(memory)
        embedded = self.dropout(self.embedding(target))
        fed = torch.zeros_like(memory[:, 0])
        steps = []
        for t in range(target.size(1)):
            query, state = self.layers(torch.cat([embedded[:, t], fed], dim=1), state)
            scores = torch.bmm(keys, query.unsqueeze(2)).squeeze(2).masked_fill(mask, float("-inf"))
            context = torch.bmm(F.softmax(scores, dim=1).unsqueeze(1), memory).squeeze(1)
            fed = self.dropout(torch.tanh(self.combine(torch.cat([context, query], dim=1))))
            steps.append(fed)
        logits: Tensor = self.output(torch.stack(steps, dim=1))
        return logits


class Seq2Seq(nn.Module):
    """Both, with separate embeddings."""

    def __init__(self, vocabulary: int, size: int = SIZE, *, nn_lstm: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(vocabulary, size)
        self.decoder = Decoder(vocabulary, size, nn_lstm=nn_lstm)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source [B, S] ending in </s>, target [B, T] beginning with <s> → logits [B, T, V]."""
        mask = source == PAD
        memory, state = self.encoder(source, (~mask).sum(1))
        logits: Tensor = self.decoder(target, memory, mask, state)
        return logits


def load(folder: Path) -> tuple[list[Pair], int]:
    """The training pairs as ids and the size of the vocabulary."""
    pieces = (folder / "pieces.txt").read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    ids = {piece: index for index, piece in enumerate(pieces)}

    def side(language: str) -> list[Tensor]:
        lines = (folder / f"train.{language}").read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        return [torch.tensor([ids.get(piece, UNK) for piece in line.split(" ")]) for line in lines]

    return list(zip(side("en"), side("de"), strict=True)), len(pieces)


def batches(pairs: list[Pair], *, by_length: bool) -> Iterator[list[Pair]]:
    """Epoch after epoch; by length the batches are cut from the sorted pairs and then shuffled."""
    for _ in count():
        random.shuffle(pairs)
        order = sorted(pairs, key=lambda pair: (len(pair[1]), len(pair[0]))) if by_length else pairs
        cut = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        random.shuffle(cut)
        yield from cut


def train(model: Seq2Seq, order: Iterator[list[Pair]], *, bf16: bool) -> None:
    """Until somebody stops it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    bos, eos = torch.tensor([BOS]), torch.tensor([EOS])
    model.train()
    for step, batch in enumerate(order, 1):
        source = pad_sequence([torch.cat([s, eos]) for s, _ in batch], True, PAD)
        given = pad_sequence([torch.cat([bos, t]) for _, t in batch], True, PAD)
        wanted = pad_sequence([torch.cat([t, eos]) for _, t in batch], True, PAD)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(source, given)
            loss = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if step % 10 == 0:
            print(f"update {step}, loss {loss.item():.3f}", flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--sorted", action="store_true", help="batches of like lengths")
    parser.add_argument("--bf16", action="store_true", help="under autocast")
    parser.add_argument(
        "--nn-lstm", action="store_true", help="nn.LSTM one step at a time instead of LSTMCell"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    pairs, vocabulary = load(arguments.data)
    model = Seq2Seq(vocabulary, nn_lstm=arguments.nn_lstm)
    train(model, batches(pairs, by_length=arguments.sorted), bf16=arguments.bf16)


if __name__ == "__main__":
    main()
