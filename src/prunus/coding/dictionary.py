"""What every section of a file of version 1 is deflated after: names of tensors, the JSON of traced graphs,
the nodes of ONNX graphs, and at the end, where references are the shortest, LeNet-5's.

It is frozen: another one would be another version of the format. 4,971 bytes, CRC-32 8afd73ca.
"""

import zlib
from base64 import b85decode

_PACKED = (
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
)
DICTIONARY = zlib.decompress(b85decode(_PACKED))

__all__ = ["DICTIONARY"]
