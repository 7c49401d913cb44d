"""Manifests: strict XML, its canonical form, and signatures that cannot be wrapped."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vectors
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.forge import nvgpu as forge
from fastness.pki.anchors import vendor
from fastness.tee.nvgpu import rim, xml, xmlsig

HONEST = forge.make({})
DRIVER = HONEST.collateral.of("rim")[0].data


def real() -> dict[str, bytes]:
    files = vectors.case("nvgpu/hopper-sample").files
    return {role: data for role, data in files.items() if role.endswith("_rim")}


def judged(data: bytes) -> str:
    """``ok``, or the check that refused."""
    try:
        rim.authenticate(rim.read(data), HONEST.anchors, HONEST.at)
    except MalformedEvidence:
        return "malformed"
    except NotGenuine as error:
        return error.check
    return "ok"


def test_real_manifests_hold_under_the_pinned_root_while_their_signer_is_valid():
    then = datetime(2025, 6, 1, tzinfo=UTC)
    versions = {}
    for role, data in real().items():
        found = rim.read(data)
        versions[role] = found.version
        path = rim.authenticate(found, vendor(), then)
        assert path.anchor.name == "NVIDIA CoRIM signing root"
        assert path.anchor.line == "rim"
        assert isinstance(rim.authenticate(found, vendor(), datetime(2026, 6, 1, tzinfo=UTC)), str)
    assert versions == {"driver_rim": "545.00", "vbios_rim": "96.00.5E.00.01"}


def test_real_manifests_share_no_index_and_list_all():
    first, second = (rim.read(data) for data in real().values())
    assert not first.allowed.keys() & second.allowed.keys()
    assert first.listed == second.listed == frozenset(range(64))
    assert len(first.allowed[35]) == 2


def test_real_manifest_with_any_signed_byte_changed_is_refused():
    source = random.Random(7)
    data = real()["driver_rim"]
    end = data.index(b"<ds:KeyInfo")
    for _ in range(60):
        place = source.randrange(end)
        altered = data[:place] + bytes((data[place] ^ (1 << source.randrange(6)),)) + data[place + 1 :]
        try:
            found = rim.read(altered)
        except MalformedEvidence:
            continue
        if xml.canonical(xml.parse(altered)) == xml.canonical(xml.parse(data)):
            continue  # a space inside a tag: the same document
        with pytest.raises(NotGenuine):
            rim.authenticate(found, vendor(), datetime(2025, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # the examples of Canonical XML 1.1 section 3 that our restrictions leave
        ("<doc><e1   /><e2   ></e2></doc>", "<doc><e1></e1><e2></e2></doc>"),
        ('<d a="&#9;&#10;&#13;&amp;&lt;&quot;"/>', '<d a="&#x9;&#xA;&#xD;&amp;&lt;&quot;"></d>'),
        ("<d a='x\ty\nz'/>", '<d a="x y z"></d>'),
        ("<d>&#13;&amp;&lt;&gt;\"'\r\n</d>", "<d>&#xD;&amp;&lt;&gt;\"'\n</d>"),
        ('<b:d xmlns:b="u:b" xmlns:a="u:z" xmlns="u:d" b:y="1" a:x="2" z="3"/>',
         '<b:d xmlns="u:d" xmlns:a="u:z" xmlns:b="u:b" z="3" b:y="1" a:x="2"></b:d>'),
        ('<a xmlns="u:1"><b xmlns="u:1"><c xmlns=""><d xmlns=""/></c></b></a>',
         '<a xmlns="u:1"><b><c xmlns=""><d></d></c></b></a>'),
        ('<a xmlns=""><b/></a>', "<a><b></b></a>"),
        ("<!-- x --><d>one<!-- two -->three</d><!-- y -->", "<d>onethree</d>"),
        ('<?xml version="1.0" encoding="UTF-8"?>\n<d>\u00e9</d>', "<d>\u00e9</d>"),
    ],
)  # fmt: skip
def test_canonical_form(document, expected):
    assert xml.canonical(xml.parse(document.encode())) == expected.encode()


def test_canonical_form_of_a_part_carries_what_it_inherits():
    root = xml.parse(b'<a xmlns="u:1" xmlns:p="u:2"><b><c/></b><d/></a>')
    assert xml.canonical(root.elements[0]) == b'<b xmlns="u:1" xmlns:p="u:2"><c></c></b>'
    assert xml.canonical(root, root.elements[0]) == b'<a xmlns="u:1" xmlns:p="u:2"><d></d></a>'


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40),
    st.text("ab\t\n\r ", max_size=9),
)
def test_canonical_form_is_a_fixed_point(text, space):
    text = text.replace("\ufffe", "").replace("\uffff", "")
    escaped = (text + space).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("]]>", "")
    first = xml.canonical(xml.parse(f'<a x="{escaped}">{escaped.replace(">", "&gt;")}</a>'.encode()))
    assert xml.canonical(xml.parse(first)) == first


@pytest.mark.parametrize(
    "document",
    [
        b"", b"<a>", b"<a/><b/>", b"<a x='1' x='2'/>", b"<p:a/>", b"<a p:x='1'/>", b"<a xml:id='1'/>", b"<a:b:c/>",
        b"<!DOCTYPE a><a/>", b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', b"<a>&e;</a>", b"<?php x?><a/>",
        b"<a><?x y?></a>", b"<a><![CDATA[x]]></a>", b'<a xmlns:p=""/>', b"<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>",
        b"<?xml version='1.1'?><a/>", b"<?xml version='1.0' encoding='UTF-16'?><a/>", b"\xff\xfe<\0a\0/\0>\0",
        b"<a>\xff</a>", b"<a>\0</a>", b"<a>" * 40 + b"</a>" * 40, b"<a>" + b"<b/>" * 20000 + b"</a>",
        b"<a " + b" ".join(b"x%d='1'" % number for number in range(300)) + b"/>", b" " * (xml.MAX_XML + 1),
    ],
)  # fmt: skip
def test_xml_that_is_refused(document):
    with pytest.raises(MalformedEvidence) as caught:
        xml.parse(document)
    assert caught.value.offset >= 0


def test_entities_do_not_expand():
    bomb = b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'">' + b"]><a>" + b"&b;" * 1000 + b"</a>"
    with pytest.raises(MalformedEvidence):
        rim.read(bomb)


OUTER = DRIVER[DRIVER.index(b"<ds:Signature") : DRIVER.index(b"</ds:Signature>") + 15]
BODY = DRIVER.replace(OUTER, b"")
END = b"</s:SoftwareIdentity>"


@pytest.mark.parametrize(
    "document",
    [
        forge.wrapped(DRIVER),
        DRIVER.replace(END, OUTER + END),
        BODY,
        BODY.replace(b"</s:Payload>", OUTER + b"</s:Payload>"),
        DRIVER.replace(b'URI=""', b'URI="#signed"'),
        DRIVER.replace(b' URI=""', b""),
        DRIVER.replace(b'URI=""', b'URI="#xpointer(/)"'),
        DRIVER.replace(b'URI=""', b'URI="https://example.invalid/"'),
        DRIVER.replace(xmlsig.ENVELOPED.encode(), b"http://www.w3.org/TR/1999/REC-xslt-19991116"),
        DRIVER.replace(b"xml-c14n11", b"xml-c14n11#WithComments"),
        DRIVER.replace(b"ecdsa-sha384", b"hmac-sha384"),
        DRIVER.replace(b"xmldsig-more#sha384", b"xmldsig-more#md5"),
        DRIVER.replace(b"<ds:Reference", b'<ds:Reference URI="#x"/><ds:Reference'),
        DRIVER.replace(b"</ds:Transforms>", b'<ds:Transform Algorithm="x"/></ds:Transforms>'),
        DRIVER.replace(b"<ds:KeyInfo>", b"<ds:Object/><ds:KeyInfo>"),
        DRIVER.replace(b"<ds:X509Certificate>M", b"<ds:X509Certificate>*"),
        DRIVER.replace(b"<ds:X509Data>", b"<ds:X509Data><b/>").replace(b"X509Certificate", b"X509Certificates"),
        DRIVER.replace(b"<s:Meta", b"<s:Nothing").replace(b"</s:Meta", b"</s:Nothing"),
        DRIVER.replace(b'index="3"', b'index="2"'),
        DRIVER.replace(b'index="3"', b'index="-3"'),
        DRIVER.replace(b'index="3"', b'index="999"'),
        DRIVER.replace(b'index="3" active="False"', b'index="3" active="maybe"'),
        DRIVER.replace(b'alternatives="2"', b'alternatives="1"', 1),
        DRIVER.replace(b'alternatives="1"', b'alternatives="0"', 1),
        DRIVER.replace(b'size="48"', b'size="32"', 1),
        DRIVER.replace(b'h:Hash0="', b'h:Hash0="zz', 1),
        DRIVER.replace(b'active="True"', b'active="False"'),
        DRIVER.replace(b"s:SoftwareIdentity", b"s:Other"),
        DRIVER.replace(b"SWID", b"").replace(b'colloquialVersion="550.90.07"', b'colloquialVersion=""'),
    ],
)  # fmt: skip
def test_g7_other_shapes_are_malformed(document):
    assert document != DRIVER
    assert judged(document) == "malformed"


@pytest.mark.parametrize(
    "document",
    [
        DRIVER.replace(b'index="3" active="False"', b'index="3" active="True"'),
        DRIVER.replace(b'colloquialVersion="550.90.07"', b'colloquialVersion="550.90.08"'),
        DRIVER.replace(b"<s:Payload>", b"<s:Payload> "),
        DRIVER.replace(b"</s:Payload>", b"</s:Payload><s:Payload2/>"),
        DRIVER.replace(b'xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384"',
                            b'xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384" xmlns:q="u"'),
    ],
)  # fmt: skip
def test_g7_altered_manifests_do_not_hold(document):
    assert document != DRIVER
    assert judged(document) == "nvgpu.rim-signature"


def floors(index: object = 65573, least: object = 7, active: str = "True", space: str = rim.OPAQUE) -> rim.Rim:
    record = (
        f'<s:Resource index="{index}" active="{active}" name="n" xmlns:o="{space}" o:minSvn="{least}"/></s:Payload>'
    )
    return rim.read(DRIVER.replace(b"</s:Payload>", record.encode()))


def test_records_of_least_security_versions():
    """NVIDIA, "Opaque Data RIM Attributes": the index is 65536 and the type in the opaque data."""
    assert (floors().floors, floors().strange) == ({37: 7}, 0)
    assert floors(65536).floors == {0: 7}
    assert (floors(active="False").floors, floors(active="False").strange) == ({}, 0)
    assert floors(131071, 999999).floors == {65535: 999999}
    odd = (
        floors(65535),
        floors(131072),
        floors(least=1000000),
        floors(least="٣"),
        floors(least="0x7"),
        floors(least=""),
        floors(least="-1"),
        floors(space="u"),
    )
    for item in (*odd, floors(active="perhaps", least="x")):
        assert (item.floors, item.strange) == ({}, 1)


def test_two_records_of_one_least_security_version_are_none():
    record = f'<s:Resource index="65573" active="True" name="n" xmlns:o="{rim.OPAQUE}" o:minSvn="7"/>'
    twice = rim.read(DRIVER.replace(b"</s:Payload>", f"{record}{record}</s:Payload>".encode()))
    assert (twice.floors, twice.strange) == ({37: 7}, 1)


def test_manifest_without_a_signer_or_with_two():
    first = DRIVER.index(b"<ds:X509Certificate>")
    end = DRIVER.index(b"</ds:X509Certificate>") + 21
    assert judged(DRIVER[:first] + DRIVER[end:]) == "nvgpu.rim-signature"
    assert judged(DRIVER[:end] + DRIVER[first:end] + DRIVER[end:]) == "nvgpu.rim-signature"


def test_what_canonical_form_ignores_is_no_alteration():
    assert judged(DRIVER) == "ok"
    assert judged(b'<?xml version="1.0"?>\n<!-- hello -->' + DRIVER.replace(b"<s:Payload>", b"<s:Payload   >")) == "ok"


def test_truncated_and_mutated_manifests_raise_only_our_own_errors():
    source = random.Random(11)
    for _ in range(150):
        assert judged(DRIVER[: source.randrange(len(DRIVER))]) == "malformed"
        place = source.randrange(len(DRIVER))
        data = DRIVER[:place] + bytes((source.randrange(256),)) + DRIVER[place + 1 :]
        assert judged(data) in ("ok", "malformed", "nvgpu.rim-signature", "nvgpu.rim-chain")
