"""The messages of BuildKit's API: field numbers and types, from which message classes are made.

Each message is one line of `field=number:type`; a type that is left out is a string, `*` stands before repeated ones, and
`{T}` is a map from strings to T. What the engine neither reads nor writes is left out: protobuf passes unknown fields
over (Protocol Buffers, "Unknown fields").
"""

from __future__ import annotations

from functools import cache
from typing import Any

PACKAGES = {
    "google.protobuf": """
        Timestamp seconds=1:int64 nanos=2:int32
        Any type_url=1 value=2:bytes
    """,
    "google.rpc": """
        Status code=1:int32 message=2 details=3:*google.protobuf.Any
    """,
    "pb": """
        Platform Architecture=1 OS=2 Variant=3 OSVersion=4 OSFeatures=5:*string
        Definition def=1:*bytes metadata=2:{pb.OpMetadata}
        OpMetadata ignore_cache=1:bool
        SourceOp identifier=1 attrs=2:{string}
        Input digest=1 index=2:int64
        Op inputs=1:*pb.Input exec=2:pb.ExecOp source=3:pb.SourceOp file=4:pb.FileOp build=5:pb.BuildOp merge=6:pb.MergeOp
         diff=7:pb.DiffOp platform=10:pb.Platform
        BuildOp builder=1:int64
        MergeOp inputs=1:*pb.OpInput
        DiffOp lower=1:pb.OpInput upper=2:pb.OpInput
        OpInput input=1:int64
        ExecOp meta=1:pb.Meta mounts=2:*pb.Mount network=3:int32 security=4:int32 secretenv=5:*pb.SecretEnv
        SecretEnv ID=1 name=2 optional=3:bool
        Meta args=1:*string env=2:*string cwd=3 user=4 extraHosts=6:*pb.HostIP validExitCodes=12:*int32
        HostIP Host=1 IP=2
        Mount input=1:int64 selector=2 dest=3 output=4:int64 readonly=5:bool mountType=6:int32 TmpfsOpt=19:pb.TmpfsOpt
         cacheOpt=20:pb.CacheOpt secretOpt=21:pb.SecretOpt SSHOpt=22:pb.SecretOpt
        TmpfsOpt size=1:int64
        CacheOpt ID=1 sharing=2:int32
        SecretOpt ID=1 uid=2:uint32 gid=3:uint32 mode=4:uint32 optional=5:bool
        FileOp actions=2:*pb.FileAction
        FileAction input=1:int64 secondaryInput=2:int64 output=3:int64 copy=4:pb.FileActionCopy mkfile=5:pb.FileActionMkFile
         mkdir=6:pb.FileActionMkDir rm=7:pb.FileActionRm symlink=8:pb.FileActionRm
        FileActionCopy src=1 dest=2 owner=3:pb.ChownOpt mode=4:int32 dirCopyContents=6:bool
         attemptUnpackDockerCompatibility=7:bool allowWildcard=9:bool timestamp=11:int64 include_patterns=12:*string
         exclude_patterns=13:*string modeStr=15
        FileActionMkFile path=1 mode=2:int32 data=3:bytes owner=4:pb.ChownOpt timestamp=5:int64
        FileActionMkDir path=1 mode=2:int32 makeParents=3:bool owner=4:pb.ChownOpt timestamp=5:int64
        FileActionRm path=1
        ChownOpt user=1:pb.UserOpt group=2:pb.UserOpt
        UserOpt byName=1:pb.NamedUserOpt byID=2:uint32
        NamedUserOpt name=1 input=2:int64
        SourceInfo filename=1 data=2:bytes definition=3:pb.Definition language=4
        Range start=1:pb.Position end=2:pb.Position
        Position line=1:int32 character=2:int32
        ProgressGroup id=1 name=2 weak=3:bool
    """,
    "moby.buildkit.v1.types": """
        WorkerRecord ID=1 Labels=2:{string} platforms=3:*pb.Platform GCPolicy=4:*moby.buildkit.v1.types.GCPolicy
         BuildkitVersion=5:moby.buildkit.v1.types.BuildkitVersion
        GCPolicy all=1:bool keepDuration=2:int64 filters=4:*string reservedSpace=3:int64 maxUsedSpace=5:int64
        BuildkitVersion package=1 version=2 revision=3
    """,
    "moby.buildkit.v1.apicaps": """
        APICap ID=1 Enabled=2:bool Deprecated=3:bool
    """,
    "moby.buildkit.v1": """
        PruneRequest filter=1:*string all=2:bool keepDuration=3:int64 reservedSpace=4:int64 maxUsedSpace=5:int64
        DiskUsageRequest filter=1:*string
        DiskUsageResponse record=1:*moby.buildkit.v1.UsageRecord
        UsageRecord ID=1 Mutable=2:bool InUse=3:bool Size=4:int64 CreatedAt=6:google.protobuf.Timestamp
         LastUsedAt=7:google.protobuf.Timestamp UsageCount=8:int64 Description=9 RecordType=10 Shared=11:bool
        SolveRequest Ref=1 Definition=2:pb.Definition ExporterDeprecated=3 ExporterAttrsDeprecated=4:{string} Session=5
         Frontend=6 FrontendAttrs=7:{string} Cache=8:moby.buildkit.v1.CacheOptions Entitlements=9:*string Internal=11:bool
         Exporters=13:*moby.buildkit.v1.Exporter EnableSessionExporter=14:bool
        CacheOptions Exports=4:*moby.buildkit.v1.CacheOptionsEntry Imports=5:*moby.buildkit.v1.CacheOptionsEntry
        CacheOptionsEntry Type=1 Attrs=2:{string}
        Exporter Type=1 Attrs=2:{string}
        SolveResponse ExporterResponse=1:{string}
        StatusRequest Ref=1
        StatusResponse vertexes=1:*moby.buildkit.v1.Vertex statuses=2:*moby.buildkit.v1.VertexStatus
         logs=3:*moby.buildkit.v1.VertexLog warnings=4:*moby.buildkit.v1.VertexWarning
        Vertex digest=1 inputs=2:*string name=3 cached=4:bool started=5:google.protobuf.Timestamp
         completed=6:google.protobuf.Timestamp error=7 progressGroup=8:pb.ProgressGroup
        VertexStatus ID=1 vertex=2 name=3 current=4:int64 total=5:int64 timestamp=6:google.protobuf.Timestamp
         started=7:google.protobuf.Timestamp completed=8:google.protobuf.Timestamp
        VertexLog vertex=1 timestamp=2:google.protobuf.Timestamp stream=3:int64 msg=4:bytes
        VertexWarning vertex=1 level=2:int64 short=3:bytes detail=4:*bytes url=5 info=6:pb.SourceInfo ranges=7:*pb.Range
        ListWorkersRequest filter=1:*string
        ListWorkersResponse record=1:*moby.buildkit.v1.types.WorkerRecord
        InfoRequest
        InfoResponse buildkitVersion=1:moby.buildkit.v1.types.BuildkitVersion
        BuildHistoryRequest ActiveOnly=1:bool Ref=2 EarlyExit=3:bool Filter=4:*string Limit=5:int32
        BuildHistoryEvent type=1:int32 record=2:moby.buildkit.v1.BuildHistoryRecord
        BuildHistoryRecord Ref=1 Frontend=2 FrontendAttrs=3:{string} Exporters=4:*moby.buildkit.v1.Exporter
         error=5:google.rpc.Status CreatedAt=6:google.protobuf.Timestamp CompletedAt=7:google.protobuf.Timestamp
         ExporterResponse=9:{string} Generation=12:int32 pinned=14:bool numCachedSteps=15:int32 numTotalSteps=16:int32
         numCompletedSteps=17:int32 numWarnings=19:int32
        UpdateBuildHistoryRequest Ref=1 Pinned=2:bool Delete=3:bool Finalize=4:bool
        UpdateBuildHistoryResponse
    """,
    "moby.buildkit.v1.frontend": """
        Result ref=3:moby.buildkit.v1.frontend.Ref refs=4:moby.buildkit.v1.frontend.RefMap metadata=10:{bytes}
        Ref id=1 def=2:pb.Definition
        RefMap refs=1:{moby.buildkit.v1.frontend.Ref}
        ReturnRequest result=1:moby.buildkit.v1.frontend.Result error=2:google.rpc.Status
        ReturnResponse
        InputsRequest
        InputsResponse Definitions=1:{pb.Definition}
        ResolveImageConfigRequest Ref=1 Platform=2:pb.Platform ResolveMode=3 LogName=4
        ResolveImageConfigResponse Digest=1 Config=2:bytes Ref=3
        ResolveSourceMetaRequest Source=1:pb.SourceOp Platform=2:pb.Platform LogName=3 ResolveMode=4
        ResolveSourceMetaResponse Source=1:pb.SourceOp Image=2:moby.buildkit.v1.frontend.ResolveSourceImageResponse
        ResolveSourceImageResponse Digest=1 Config=2:bytes
        SolveRequest Definition=1:pb.Definition Frontend=2 FrontendOpt=3:{string} allowResultReturn=5:bool
         allowResultArrayRef=6:bool Final=10:bool ExporterAttr=11:bytes
         CacheImports=12:*moby.buildkit.v1.frontend.CacheOptionsEntry FrontendInputs=13:{pb.Definition} Evaluate=14:bool
        CacheOptionsEntry Type=1 Attrs=2:{string}
        SolveResponse ref=1 result=3:moby.buildkit.v1.frontend.Result
        ReadFileRequest Ref=1 FilePath=2 Range=3:moby.buildkit.v1.frontend.FileRange
        FileRange Offset=1:int64 Length=2:int64
        ReadFileResponse Data=1:bytes
        ReadDirRequest Ref=1 DirPath=2 IncludePattern=3
        ReadDirResponse entries=1:*fsutil.types.Stat
        StatFileRequest Ref=1 Path=2
        StatFileResponse stat=1:fsutil.types.Stat
        EvaluateRequest Ref=1
        EvaluateResponse
        PingRequest
        PongResponse FrontendAPICaps=1:*moby.buildkit.v1.apicaps.APICap LLBCaps=2:*moby.buildkit.v1.apicaps.APICap
         Workers=3:*moby.buildkit.v1.types.WorkerRecord
        WarnRequest digest=1 level=2:int64 short=3:bytes detail=4:*bytes url=5 info=6:pb.SourceInfo ranges=7:*pb.Range
        WarnResponse
    """,
    "fsutil.types": """
        Stat path=1 mode=2:uint32 uid=3:uint32 gid=4:uint32 size=5:int64 modTime=6:int64 linkname=7 devmajor=8:int64
         devminor=9:int64 xattrs=10:{bytes}
        Packet type=1:int32 stat=2:fsutil.types.Stat ID=3:uint32 data=4:bytes
    """,
    "moby.filesync.v1": """
        BytesMessage data=1:bytes
        CredentialsRequest Host=1
        CredentialsResponse Username=1 Secret=2
    """,
    "moby.buildkit.secrets.v1": """
        GetSecretRequest ID=1
        GetSecretResponse data=1:bytes
    """,
    "containerd.services.content.v1": """
        Info digest=1 size=2:int64
        InfoRequest digest=1
        InfoResponse info=1:containerd.services.content.v1.Info
        ReadContentRequest digest=1 offset=2:int64 size=3:int64
        ReadContentResponse offset=1:int64 data=2:bytes
        WriteContentRequest action=1:int32 ref=2 total=3:int64 expected=4 offset=5:int64 data=6:bytes
        WriteContentResponse action=1:int32 offset=4:int64 total=5:int64 digest=6
    """,
    "moby.sshforward.v1": """
        BytesMessage data=1:bytes
        CheckAgentRequest ID=1
        CheckAgentResponse
    """,
}
BYTES = "moby.filesync.v1.BytesMessage"
"""A piece of a stream; the services that have a message of this name each have the same."""
SCALARS = {"int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}
"""Numbers of google.protobuf.FieldDescriptorProto.Type."""
MESSAGE = 11
OPTIONAL, REPEATED = 1, 3


def message(name: str) -> Any:
    """Return the class of the message of a full name, as "moby.buildkit.v1.SolveRequest". Raises KeyError."""
    return _classes()[name]


@cache
def _classes() -> dict[str, Any]:
    # only for who builds this way: it takes 30 ms and some megabytes
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto
    names = []
    lines: dict[str, list[str]] = {}
    for package, text in PACKAGES.items():
        for line in text.strip("\n").splitlines():
            words = line.split()
            if not words:
                continue
            if "=" not in words[0]:
                name = f"{package}.{words.pop(0)}"
                names.append(name)
                lines[name] = []
            lines[names[-1]] += words
    # one file a package could need another's that comes later: they are all in one without a package
    whole = file(name="skiff/buildkit.proto", syntax="proto3")
    for name in names:
        described = whole.message_type.add(name=name.replace(".", "_"))
        for field in lines[name]:
            _add_field(described, field)
    pool.Add(whole)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name.replace(".", "_"))) for name in names}


def _add_field(described: Any, text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(":")
    label = OPTIONAL
    if kind.startswith("*"):
        kind, label = kind[1:], REPEATED
    elif kind.startswith("{"):
        entry = described.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key=1")
        _add_field(entry, f"value=2:{kind[1:-1]}")
        described.field.add(
            name=name, number=int(number), label=REPEATED, type=MESSAGE, type_name=f".{described.name}.{entry.name}"
        )
        return
    scalar = SCALARS.get(kind or "string")
    if scalar is not None:
        described.field.add(name=name, number=int(number), label=label, type=scalar)
    else:
        described.field.add(
            name=name, number=int(number), label=label, type=MESSAGE, type_name="." + kind.replace(".", "_")
        )
