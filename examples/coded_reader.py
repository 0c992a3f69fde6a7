"""A coded network without prunus and without torch: NumPy and the standard library alone make an ONNX file
of a `.prunus` file, as `docs/coded-file.md` says, in two hundred lines and the format's dictionary.

    python coded_reader.py model.prunus model.onnx
"""

from __future__ import annotations

import math
import sys
import zlib
from base64 import b85decode
from pathlib import Path

import numpy as np

DICTIONARY = zlib.decompress(b85decode(
    "c-qZZ&2JmW73WfvM2%&cVx&Z^+hn^)9e_}2E<Z%cKx^7Tn?i`w!1AG}By5MfLvo<~>h7#a#Soffd+)jMx#|DVUV2Oaru4m;-6bhfass"
    "4iNsYK~=FPnC-<u7oWA)h}h?pM2BOM49>3-r_woBuf#d<snB4H;&=e{*yR3s5h28oyweh_)o<zFzzibphLYWs-#K67J945J_k)#Hd!C"
    ")V-5<#11DUZ1I_5qBKsTQQuY3+{Q3brD4N=#s}g@E_}$w7TAR1N#DgV?l>VGv5vz7S(l!We>sFkEs{Btgcfb{Q4g*E_Kfh>jT@A+M2o"
    "@_?MP5R=?rcRS&3^E)C}c4t{Xy6^q(+{nWr^vp!~gI1<MGJbAu<YV>`x-sd!iwfr%gj}qVK{?PIm_0#pasf-WZ)2G57vDgw3wJ(^HvM"
    "*b~T~a@@-l!u}uH3TOb2um&3|JH!PfiUu!;d-h1rq2Gn0<|sfHv9B8lC+{-GnW}h=wCv^1-pV^VAqJVS!Jh%n8<VpX|RjL;?YTJ?Gaz"
    "INTQU8P&F_>so`vw*`bY-PuH2sbGFxQFVt6XyVSDr1UVJ7!w1}Oo=%)uJ`@Kbz#xvF$y&IO(}nte7i!i%WY<vnMRVVzhZtIL`(IFn44"
    "Hl5Z-|AQM1`<b(@XW!C|M}?RE|u-M32|xZqUgXA)Dgp2V0X+!yguxzwSd;FrvzmqRNI0vEh^omxC6E~}9SeDi=UnMB?s#MDu_JblI$E"
    "RX5-SqfM43WeOs_AkyMXUuYj{1N9pKA9drLr90^RXJ0I3v=gSc<53)P1d(nt(r(xu>-7<+0p<qFOKUa)o{bf0E%IPauyzDL$?q_m-~!"
    "HkZsossR;_uXqb2m697tef*NukHbExqug?r|6|ytqiGBvv&0WF$xGv8>GxlK)%oA)P6a&^pIz8g96Cu`y%*Msj|H?_S5a;*iQw#f~>9"
    "<&f{#c^M>G^F+;9=*={fn;pu4-ZAxesB42pD*d@=9v!93cThQYaJtnuj>f@$7*cP|<3h8M&p(tW;g&nrsrSS=Cxb=_Q~E*&<q-Xl7OG"
    "7%R^l2Uj~)?I2x!pJ)f9Xt!XrVRT>|REuWASUo|kB990VFloZ1X{>xso!UF3<YB^<!Ek7uzIdapkP6X`fEC%AO3oILO(3Uw6wNl!os`"
    "yrMzLKOhcJ%FifuN4p*t%ZSMij?J7jMI9~faC0^iY8_))dkY^1^-5_ksMG`2r+gFbbiU9t$e{^tO7<Re%#K@KuBjrEsIUOs9SvH{o{j"
    "K5$}u&2GzinSk>i<R}~;H~3I;l?LlYads>QJ+6%zxi6{xKd2{S8nb*n64FXu66H_cX)@qqb2el$~AQLqQKuhB-*6<F4-w-)e0$=H5e-"
    "}bUD%xH&iBMURDvGhPVZEJEbu&9Sn|)YQCi_<CzC0job3Tm`7<~8g~SSe5DZ$a%c=GJci^xGVXs2fcy#(I1FM|+a+b1h`@r2sj>FiZ("
    "g1J@)aabtx7f=4h<4IXWY|zaMXHjldQ^1ri%D3*}Py8TtC%?v{&pEk?B3Mr4SiUbfB~L3cUg@Y?Bhq#7JgS6|x?Shy&24yU7PcYk@Ci"
    "nXQ4MHWjsdq(mn?R#LahT1A8SHI7T0fBN8QUngry+>O|1d2DuwhE=L6RWps!$1V@S{|X2;eoZ6iWX$6c`2onTYVBp-evksg`UxL;0mo"
    "Qr9e{_b2C;jQNQOgnZqD#v#t_Nz7cEbadoxGh=6?vJ&A4k}N$(ZV@;$O`2Z=A>reeE^!*Iu)k@!{){|Q1-nyam)E+=0W5uQkatc+8XT"
    "7z_hR|uJHzTog)LSv=mWAeTo1QEm?u2`1r^8<Wy!90?-7=*@Gp2t878|{3L+_#fHw=FwhgMmeN3x(c4-e_9wUGjiUl%Wvdm}hSIF?k0"
    "%3fvL`m7UflbrZIWHHzCFk-ZDXLW^R15mtmeaBBn5yfV;s1{Zvl-wG|)@m|1U1WWMnW=bhlSD~K-Q3j*!`D*<zug;BWF+Bj6v&aK?7i"
    "Gzi->WhmV+AVEt$vDc4xgp3bJB#`PU`M&vX2bwHd$w3%-z7>{rkT@>Y{bqgaEY1BMTd?iq4}PzDu6~YJlJF(J+jH2?wt;qvQuZLlZtk"
    "B$p_@@hPJhR|qkn?<#e}5#9aw*I)k}1dv|=R}-5aaJCHck~xXZUcd_!u$IxW@D`bd`XSlzgCMlVT#PK{h2qMh6Q&jk^qeN1(KhbM0#j"
    "8nmG{-(YQI2(wn(YZ1V+8^6y+PRuTxD+8mcK62#-$YAz(8D014WPGLiacuV$22B)m6|_p}tb%js_~gZU~zh-y{kn>_iaTqe&;q)^!*e"
    "+K-VK=c4V#(*EtH4#6*KiFLDt-ifj)k%0iX-Ei@{o${gyt_bKenBVS4NI1(`R!3;hun`vfCy$msk2C(xri<3I!LB5j+VT2{ZCyd!F}q"
    "wHeUPwUtRZ8>@V2evFY62+)v~cHS6tNgaFT*R#~C&<<t2pQ}lhZCZYM65}%RJ)uG_3ZdJ=}A-`4E2NcuI3-kMsQ`Ls~Z4544St;r(w_"
    "mt${0K*XFK_!>WD_{b=_>gT7jHLV"
))  # fmt: skip
TENSORS, INTEGERS, PLAIN, SKELETON = 2, 3, 4, 66
TYPES = "f4 f2 f8 u2 i8 i4 i2 i1 u1 b1 c8 c16 u2 u4 u8 u1 u1".split()  # by their numbers in the table
ONNX = (1, 10, 11, 16, 7, 6, 5, 3, 2, 9, 14, 15, 4, 12, 13)
KNOTS = (
    0, 1, 1, 2, 3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625,
    24743, 32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438,
    65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535, 65535, 65536,
)  # fmt: skip
CLASSES = [n if n < 3 else min(n.bit_length() + 1, 9) for n in range(129)]


class _Bytes:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        byte = self.take(1)[0]
        return byte if byte < 128 else byte - 128 + 128 * self.number()


def sections(data: bytes) -> dict[int, bytes]:
    """What the sections of a file say, by kind."""
    if data[:4] != b"PRN\1" or data[4:8] != zlib.crc32(data[8:]).to_bytes(4, "little"):
        raise ValueError("This is no whole .prunus file of version 1.")
    rest, found = _Bytes(data[8:]), {}
    while rest.at < len(rest.data):
        kind, body, raw = rest.take(1)[0], rest.take(rest.number()), zlib.decompressobj(-15, zdict=DICTIONARY)
        found[kind & 127] = raw.decompress(body, 1 << 28) if kind > 127 else body
    return found


def tensors(parts: dict[int, bytes]) -> list[tuple[int, np.ndarray]]:
    """The number of its type and the values of every tensor."""
    rest, plain = _Bytes(parts[TENSORS]), _Bytes(parts.get(PLAIN, b""))
    coder, found, matrix, shape = _Coder(parts.get(INTEGERS, b"")), [], [0], [0]

    def values(kind: str, count: int) -> np.ndarray:
        size = np.dtype(kind).itemsize
        planes = np.frombuffer(plain.take(size * count), np.uint8).reshape(size, count)
        return np.ascontiguousarray(planes.T).reshape(-1).view("<" + kind)

    for _ in range(rest.number()):
        head = rest.take(1)[0]
        kind, form, more = head & 7, head >> 3 & 3, head >> 5
        number = rest.take(1)[0] if kind not in (1, 2, 6) and more else 0
        shape = matrix[:1]
        if form != 1:
            rows = [rest.number() for _ in range(1 if form == 2 else 0 if form else rest.number())]
            shape = [*(rows or shape), matrix[0], *matrix[2:]] if form else rows
        matrix, stored, count = shape if len(shape) > 1 else matrix, TYPES[number], math.prod(shape)
        if kind == 0:
            result = values(stored, count).reshape(shape)
        elif kind in (1, 6):
            step = np.frombuffer(rest.take(more + 1).ljust(4, b"\0"), ">f4")[0].astype(np.float32)
            result = coder.tensor(shape, kind == 6).astype(np.float32) * step
        elif kind == 2:
            result = values("f4", rest.number())[coder.tensor(shape)]
        elif kind == 5:
            result = np.full(shape, np.frombuffer(rest.take(np.dtype(stored).itemsize), "<" + stored)[0])
        else:  # zeros and ones; bfloat16 is its bits
            result = np.full(shape, (0x3F80 if number == 3 else 1) * (kind - 3), stored)
        found.append((number, result))
    return found


class _Coder:
    """The integer decoder: six contexts, a mixer and an arithmetic coder."""

    def __init__(self, data: bytes) -> None:
        lines = [KNOTS[i // 128] * (128 - i % 128) + KNOTS[i // 128 + 1] * (i % 128) for i in range(1, 6144)]
        self.squashed = [min(max((line + 64) // 128, 1), 65535) for line in lines]
        starts = np.searchsorted(self.squashed, np.arange(4096) * 16 + 8) - 3071
        self.stretched = starts.clip(-3071, 3071).tolist()
        self.cells, self.weights = {}, [[11796] * 6 + [0, 0] for _ in range(128)]
        self.data, self.low, self.high = iter(data), 0, 0xFFFFFFFF
        self.window = int.from_bytes(bytes(next(self.data, 0) for _ in range(4)), "big")

    def bit(self, decision: int, flat: int, contexts: list[int]) -> int:
        weights = self.weights[decision]
        cells = [self.cells.setdefault((i, c, flat, decision), [1 << 25, 0]) for i, c in enumerate(contexts)]
        inputs = [self.stretched[p >> 14] * (256 * seen // (seen + 2)) >> 8 for p, seen in cells]
        total = weights[6] * 256 + sum(w * x for w, x in zip(weights, inputs))
        chance = self.squashed[min(max(total >> 16, -3071), 3071) + 3071]
        width = self.high - self.low
        middle = self.low + (width >> 16) * chance + ((width & 65535) * chance >> 16)
        bit = int(self.window <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low ^ self.high < 1 << 24:
            self.window = (self.window << 8 & 0xFFFFFFFF) | next(self.data, 0)
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, (self.high << 8 & 0xFFFFFFFF) | 255
        step = ((bit << 16) - chance) * (3 + 100 // (weights[7] + 16))
        for i, cell in enumerate(cells):
            weights[i] += (inputs[i] * step + 131072) >> 18
            cell[0] += ((bit << 26) - cell[0]) * (655360 // (10 * cell[1] + 18)) >> 16
            cell[1] = min(cell[1] + 1, 255)
        weights[6:] = weights[6] + ((256 * step + 131072) >> 18), weights[7] + 1
        return bit

    def magnitude(self, flat: int, contexts: list[int]) -> int:
        digits, found = 1, 1
        if self.bit(0, flat, contexts):
            return 0
        while digits < 24 and self.bit(digits, flat, contexts):
            digits += 1
        for lower in range(digits - 2, -1, -1):
            first = {digits - 2: 24 + digits, digits - 3: 48 + 2 * digits + found % 2}
            found = 2 * found + self.bit(first.get(lower, 98 + lower), flat, contexts)
        return found

    def tensor(self, shape: list[int], walks: bool = False) -> np.ndarray:
        rows, columns = shape[:2] if len(shape) > 1 else (1, math.prod(shape))
        places, across = math.prod(shape[2:]), shape[-1] if len(shape) > 2 else 1
        flat, total, in_row, state, made, found = int(rows == places == 1), 0, 0, 0, [], []
        by_column, by_place, line = [0] * columns, [0] * places, columns * places
        for at in range(rows * line):
            place, column, row = at % places, at // places % columns, at // line
            in_row, state = (in_row, state) if at % line else (0, 0)
            left, left_2 = (made[at - n] if (column if flat else place) >= n else 0 for n in (1, 2))
            up = made[at - across] if place >= across else 0
            inner, inner_2 = (made[at - n * places] if not flat and column >= n else 0 for n in (1, 2))
            outer, outer_2 = (made[at - n * line] if row >= n else 0 for n in (1, 2))
            mean = (total + 1) * 256 // (at + 2)
            of_row = (in_row * 256 + 4 * mean) // (column * places + place + 4)
            of_column = (by_column[column] * 256 + 4 * mean) // (row * places + place + 4)
            of_place = (by_place[place] * 256 + 4 * mean) // (row * columns + column + 4)
            expected = of_row * of_column // (mean + 1) * of_place // (mean + 1)
            near = 2 * sum(map(abs, (left, up, inner, outer))) + sum(map(abs, (left_2, inner_2, outer_2)))
            sizes = [4 + n for n in (of_row, of_column, expected, min(near, 1 << 24) * 16)]
            e, f, g, h = (min(4 * o + (n >> o) - 4, 63) for n in sizes for o in [max(n.bit_length() - 3, 0)])
            a, b, c, d = (CLASSES[min(abs(v), 128)] for v in (left, left_2, inner, outer))
            second = state % 2 << 8  # apart from what the first grid teaches
            contexts = [10 * a + b, 10 * c + d, 4 * e + min(a, 3) + second, 4 * f + min(d, 3) + second]
            contexts += [g + second, h + 64 * (place >= across)]
            size = self.magnitude(flat, contexts)
            a, b, c, d, e = (1 + (v > 0) - (v < 0) for v in (left, left_2, inner, outer, up))
            signs = [3 * a + e, 3 * c + d, 27 * a + 9 * e + 3 * c + d, min(place, 63) * 2 + (size > 1)]
            signs += [3 * d + a, 9 * a + 3 * e + b]
            made.append(-size if size and self.bit(127, flat, signs) else size)
            sign = (made[-1] > 0) - (made[-1] < 0)
            found.append(2 * made[-1] - state % 2 * sign if walks else made[-1])
            state, size = int("0257136420463175"[2 * state + size % 2]) if walks else 0, min(size, 4095)
            total, in_row = total + size, in_row + size
            by_column[column] += size
            by_place[place] += size
        return np.array(found, np.int32).reshape(shape)


def _number(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _number(value >> 7)


def _message(field: int, content: bytes) -> bytes:
    return bytes([8 * field + 2]) + _number(len(content)) + content


def onnx(parts: dict[int, bytes]) -> bytes:
    """The ONNX file: the skeleton with the tensors in it."""
    rest, coded, following, constants = _Bytes(parts[SKELETON]), tensors(parts), 0, b""
    for place in range(rest.number()):
        apart, way = rest.number(), rest.take(1)[0]
        tensor = following + (-(apart + 1) // 2 if apart % 2 else apart // 2)
        numbers = [rest.number() for _ in range(rest.number())] if way else []
        following, (kind, values) = tensor + 1, coded[tensor]
        if way == 3:
            values = values + coded[numbers[0]][1]
        elif way:
            values = values.transpose(numbers) if way == 1 else values.reshape(numbers)
        head = b"".join(b"\x08" + _number(n) for n in values.shape) + b"\x10" + _number(ONNX[kind])
        constants += _message(5, head + _message(8, b"w%d" % place) + _message(9, values.tobytes()))
    outer = rest.take(rest.number())
    return outer + _message(7, rest.data[rest.at :] + constants)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(onnx(sections(Path(sys.argv[1]).read_bytes())))
