"""BuildKit's messages are what protobuf makes of their field numbers."""

from runtime.buildkit.schema import message


def test_fields_have_the_numbers_and_types_of_the_wire():
    request = message("moby.buildkit.v1.SolveRequest")(Ref="r", Session="s")
    request.FrontendAttrs["filename"] = "D"
    request.Exporters.add(Type="oci").Attrs["dest"] = "x"
    assert request.SerializeToString() == (
        b"\x0a\x01r\x2a\x01s\x3a\x0d\x0a\x08filename\x12\x01D\x6a\x10\x0a\x03oci\x12\x09\x0a\x04dest\x12\x01x"
    )
    packet = message("fsutil.types.Packet")(type=2, ID=7, data=b"d")
    assert packet.SerializeToString() == b"\x08\x02\x18\x07\x22\x01d"


def test_unknown_fields_are_passed_over():
    assert message("moby.buildkit.v1.StatusRequest").FromString(b"\x0a\x01r\xfa\x07\x01z").Ref == "r"
