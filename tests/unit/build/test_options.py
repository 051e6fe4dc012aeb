import pytest

from runtime.build.options import BuildOptions, options_from_query
from runtime.errors import BadRequestError


def test_the_query_of_a_docker_build_is_understood():
    options = options_from_query(
        {
            "t": ["web:1", "web:latest"],
            "dockerfile": ["docker/Dockerfile"],
            "buildargs": ['{"A":"1","B":null}'],
            "labels": ['{"x":"y"}'],
            "target": ["final"],
            "nocache": ["1"],
            "pull": ["true"],
            "networkmode": ["host"],
            "cachefrom": ['["base"]'],
            "extrahosts": ["a:1.2.3.4,b:5.6.7.8"],
            "shmsize": ["65536"],
            "ulimits": ['[{"Name":"nofile","Soft":10,"Hard":20}]'],
            "rm": ["1"],
            "version": ["1"],
        }
    )
    assert options == BuildOptions(
        dockerfile="docker/Dockerfile",
        tags=("web:1", "web:latest"),
        build_args={"A": "1", "B": None},
        target="final",
        no_cache=True,
        pull=True,
        labels={"x": "y"},
        network_mode="host",
        extra_hosts=("a:1.2.3.4", "b:5.6.7.8"),
        shm_size_bytes=65536,
        ulimits=({"Name": "nofile", "Soft": 10, "Hard": 20},),
        cache_from=("base",),
        is_classic=True,
    )


def test_an_empty_query_is_the_default():
    assert (
        options_from_query({"buildargs": ["null"], "labels": ["{}"], "nocache": ["0"], "plain": ["1"]})
        == BuildOptions()
    )


@pytest.mark.parametrize(
    "query",
    [
        {"buildargs": ["{"]},
        {"buildargs": ["[]"]},
        {"labels": ['{"a":1}']},
        {"shmsize": ["big"]},
        {"remote": ["https://example.com/x.git"]},
    ],
)
def test_what_cannot_be_done_is_refused(query):
    with pytest.raises(BadRequestError):
        options_from_query(query)
