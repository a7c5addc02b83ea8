# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Event files, read back by code that shares nothing with the writer."""

import os
import struct

import pytest

from pst import tensorboard


def crc32c_bitwise(data):
    """CRC-32C by polynomial division over GF(2), most significant bit first."""
    reflect = lambda value, bits: int(format(value, f"0{bits}b")[::-1], 2)
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= reflect(byte, 8) << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x11EDC6F41 if remainder >> 31 else 0)
    return reflect(remainder, 32) ^ 0xFFFFFFFF


def unmask(masked):
    rotated = (masked - 0xA282EAD8) % 2**32
    return (rotated >> 17 | rotated << 15) % 2**32


def records(data):
    at = 0
    while at < len(data):
        length, length_crc = struct.unpack_from("<QI", data, at)
        assert unmask(length_crc) == crc32c_bitwise(data[at : at + 8])
        payload = data[at + 12 : at + 12 + length]
        (payload_crc,) = struct.unpack_from("<I", data, at + 12 + length)
        assert unmask(payload_crc) == crc32c_bitwise(payload)
        yield payload
        at += 16 + length


def message(data):
    """Field number -> list of raw values."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                assert kind == 2
                size = varint()
            value = data[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    assert at == len(data)
    return found


def test_crc_known_values():
    # RFC 3720, appendix B.4, and the usual check value.
    assert tensorboard.crc32c(bytes(32)) == 0x8A9136AA
    assert tensorboard.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert tensorboard.crc32c(bytes(range(32))) == 0x46DD794E
    assert tensorboard.crc32c(b"123456789") == 0xE3069283 == crc32c_bitwise(b"123456789")


STEPS = {0: {"loss": 0.6931}, 1: {"loss": 0.5, "sparsity": 0.0}, 300: {"loss": -1e-9, "train/ü": 2.0**20}}


def written(tmp_path):
    writer = tensorboard.EventWriter(tmp_path / "logs")
    for step, scalars in STEPS.items():
        writer.add(step, scalars)
    writer.close()
    return writer.path


def test_events_read_back(tmp_path):
    path = written(tmp_path)
    assert os.path.basename(path).startswith("events.out.tfevents.")
    events = [message(payload) for payload in records(open(path, "rb").read())]
    assert events[0][3] == [b"brain.Event:2"]
    assert len(events) == 1 + len(STEPS)
    for event, (step, scalars) in zip(events[1:], STEPS.items()):
        assert struct.unpack("<d", event[1][0])[0] > 1.5e9
        assert event.get(2, [0]) == [step]
        (summary,) = event[5]
        found = {}
        for value in message(summary)[1]:
            fields = message(value)
            found[fields[1][0].decode()] = struct.unpack("<f", fields[2][0])[0]
        assert found == pytest.approx(scalars, rel=1e-6)


def test_tensorboard_itself_reads_them(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    events = list(loader.LegacyEventFileLoader(written(tmp_path)).Load())
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == list(STEPS)
    for event, scalars in zip(events[1:], STEPS.values()):
        assert {v.tag: v.simple_value for v in event.summary.value} == pytest.approx(scalars, rel=1e-6)


def test_two_writers_in_one_directory_do_not_meet(tmp_path):
    first, second = (tensorboard.EventWriter(tmp_path) for _ in range(2))
    assert first.path != second.path
    first.close()
    second.close()
