"""The limits of a service in the body that makes its container."""

from compose.plan.container_body import _block_io


def test_limits_on_block_io_keep_their_devices():
    config = {
        "weight": 300,
        "weight_device": [{"path": "/dev/sda", "weight": 400}],
        "device_read_bps": [{"path": "/dev/sdb", "rate": "12582912"}],
        "device_write_iops": [{"path": "/dev/sdb", "rate": "120"}],
    }
    assert {name: value for name, value in _block_io(config).items() if value} == {
        "BlkioWeight": 300,
        "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 400}],
        "BlkioDeviceReadBps": [{"Path": "/dev/sdb", "Rate": 12582912}],
        "BlkioDeviceWriteIOps": [{"Path": "/dev/sdb", "Rate": 120}],
    }
