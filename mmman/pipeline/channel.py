"""Messages from one process to its neighbour in a pipeline."""

import io
import pickle
from collections import deque
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

SMALL = 2**16  # bytes; smaller tensors (boxes, labels) travel inside of the pickled header


class Channel:
    """Sends messages in one direction, in order, without waiting for their arrival.

    A message may be anything that can be pickled. Tensors in it travel apart and arrive on the receiver's device;
    tensors that share their memory arrive as one. What is sent must not change until it has arrived.

    Args:
        source (int): Rank of the sender.
        target (int): Rank of the receiver.
        tensors (ProcessGroup): The group that tensors travel in; one for each direction, since NCCL would make two
            opposite messages wait for each other.
        headers (ProcessGroup): The group that headers, on CPU, travel in: of a backend like gloo.
        device (torch.device): Where tensors live.
        in_flight (int): Number of messages that the sender may be ahead: sending one more waits for the oldest.

    Attributes:
        sent (int): Number of messages that were sent.
        received (int): Number of messages that were received.
    """

    def __init__(
        self,
        source: int,
        target: int,
        tensors: dist.ProcessGroup,
        headers: dist.ProcessGroup,
        device: torch.device,
        in_flight: int,
    ) -> None:
        self.source, self.target = source, target
        self.tensors, self.headers = tensors, headers
        self.device = device
        self.in_flight = in_flight
        self.sent = self.received = 0
        self._on_their_way: deque[list[tuple[dist.Work, Tensor]]] = deque()

    def send(self, message: Any) -> None:
        """Start to send a message."""
        if len(self._on_their_way) == self.in_flight:
            for work, _ in self._on_their_way.popleft():
                work.wait()
        header = io.BytesIO()
        pickler = _Pickler(header)
        pickler.dump(message)
        large = [(tensor.dtype, tensor.shape) for tensor in pickler.large]
        data = torch.frombuffer(bytearray(pickle.dumps((header.getvalue(), large))), dtype=torch.uint8)
        parts = [(torch.tensor([data.numel()]), self.headers), (data, self.headers)]
        parts += [(tensor.to(self.device).contiguous(), self.tensors) for tensor in pickler.large]
        self._on_their_way.append([(dist.isend(part, self.target, group=group), part) for part, group in parts])
        self.sent += 1

    def receive(self) -> Any:
        """Wait for the next message."""
        size = torch.empty(1, dtype=torch.int64)
        dist.recv(size, self.source, group=self.headers)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(data, self.source, group=self.headers)
        header, large = pickle.loads(data.numpy().tobytes())
        tensors = []
        for dtype, shape in large:
            tensors.append(torch.empty(shape, dtype=dtype, device=self.device))
            dist.recv(tensors[-1], self.source, group=self.tensors)
        self.received += 1
        return _Unpickler(io.BytesIO(header), tensors, self.device).load()


class _Pickler(pickle.Pickler):
    """Takes tensors out of what it pickles: large ones are collected, small ones become bytes."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.large: list[Tensor] = []
        self._indices: dict[tuple, int] = {}

    def persistent_id(self, obj: Any) -> tuple | None:
        if not isinstance(obj, Tensor):
            return None
        on_cpu = obj.device.type == 'cpu'
        if obj.nbytes < SMALL:
            flat = obj.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
            data = flat.view(torch.uint8).numpy().tobytes()
            return 'small', on_cpu, obj.dtype, tuple(obj.shape), data
        memory = (obj.data_ptr(), obj.dtype, obj.shape, obj.stride())
        if memory not in self._indices:
            self._indices[memory] = len(self.large)
            self.large.append(obj.detach())
        return 'large', on_cpu, self._indices[memory]


class _Unpickler(pickle.Unpickler):
    """Puts the tensors back."""

    def __init__(self, file: io.BytesIO, large: list[Tensor], device: torch.device) -> None:
        super().__init__(file)
        self._large, self._device = large, device

    def persistent_load(self, pid: tuple) -> Tensor:
        kind, on_cpu, *rest = pid
        if kind == 'large':
            tensor = self._large[rest[0]]
        else:
            dtype, shape, data = rest
            tensor = torch.empty(shape, dtype=dtype)
            if data:
                tensor.flatten().view(torch.uint8).copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        return tensor.cpu() if on_cpu else tensor.to(self._device)
