# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""TensorBoard event files, scalars only.

A file is a sequence of TFRecords: the payload's length (u64, little endian),
the masked CRC-32C of those 8 bytes, the payload, the masked CRC-32C of the
payload. A payload is an `Event` protocol buffer; the fields written here are
wall_time = 1 (double), step = 2 (int64), file_version = 3 (string) and
summary = 5 {value = 1 {tag = 1 (string), simple_value = 2 (float)}}.
"""

from __future__ import annotations

import os
import socket
import struct
import time


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(payload: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(payload))
    return (
        length
        + struct.pack("<I", _masked(length))
        + payload
        + struct.pack("<I", _masked(payload))
    )


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def event(wall_time: float, step: int = 0, scalars: dict | None = None, version: str = "") -> bytes:
    """One serialized Event."""
    out = _varint(1 << 3 | 1) + struct.pack("<d", wall_time)
    if step:
        out += _varint(2 << 3 | 0) + _varint(step)
    if version:
        out += _bytes_field(3, version.encode())
    if scalars:
        values = b""
        for tag, value in scalars.items():
            scalar = _varint(2 << 3 | 5) + struct.pack("<f", value)
            values += _bytes_field(1, _bytes_field(1, tag.encode()) + scalar)
        out += _bytes_field(5, values)
    return out


def remove_events(directory) -> None:
    """Removes the event files of earlier runs from `directory`."""
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith("events.out.tfevents."):
                os.remove(os.path.join(directory, name))


class EventWriter:
    """Appends scalars to a new event file in `directory`."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self.path = os.path.join(directory, name)
        self._file = open(self.path, "xb")
        self._file.write(record(event(now, version="brain.Event:2")))
        self._file.flush()

    def add(self, step: int, scalars: dict) -> None:
        """Writes `scalars` (name -> number) for one step, and flushes."""
        self._file.write(record(event(time.time(), step, scalars)))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
