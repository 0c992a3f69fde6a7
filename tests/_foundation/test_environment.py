"""The record of the machine."""

from __future__ import annotations

import getpass
import json
import socket

import torch

from prunus._foundation.environment import environment


def test_the_record_is_json_and_tells_nothing_personal() -> None:
    record = environment()
    text = json.dumps(record)
    assert record["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__  # type: ignore[index]
    assert isinstance(record["cpu_flags"], list)
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text
