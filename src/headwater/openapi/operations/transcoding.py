"""Operations on transcoding templates, on what is transcoded now, and on templates for mixing (reference media-plane 2)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headwater.access.plan import Video
from headwater.domains.transcode_parameters import (
    BitrateWithSource,
    ExtWithSource,
    FpsWithSource,
    Parameters,
    ResWithSource,
    read_with_source,
)
from headwater.domains.transcoding import Template, rendition_of
from headwater.openapi.errors import invalid, parameter_not_implemented
from headwater.openapi.registry import Call, Fields, operation
from headwater.openapi.schema import Request

YesNo = Literal["yes", "no"]
SplitType = Literal["domain", "template"]
Pattern = Literal["keyframe", "frame"]

NO_ENCRYPTION = "Renditions are not encrypted."


class _Keys(Request):
    """Which template is meant."""

    domain: str
    app: str
    template: str


class AddLiveStreamTranscode(_Keys):
    """Transcode the streams of an app by a standard template."""

    lazy: YesNo = "yes"
    encrypt_parameters: str = ""


@operation(AddLiveStreamTranscode)
async def add_live_stream_transcode(call: Call, request: AddLiveStreamTranscode) -> Fields:
    _refuse_encryption(EncryptParameters=request.encrypt_parameters)
    await call.services.transcoding.add(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="preset",
        lazy=request.lazy == "yes",
        actor=call.actor,
    )
    return {}


class UpdateLiveStreamTranscode(_Keys):
    """Change when a standard template of an app runs."""

    lazy: YesNo | None = None
    encrypt_parameters: str = ""


@operation(UpdateLiveStreamTranscode)
async def update_live_stream_transcode(call: Call, request: UpdateLiveStreamTranscode) -> Fields:
    _refuse_encryption(EncryptParameters=request.encrypt_parameters)
    await call.services.transcoding.update(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="preset",
        lazy=None if request.lazy is None else request.lazy == "yes",
        actor=call.actor,
    )
    return {}


class _Media(_Keys):
    """What custom and RTS templates have in common."""

    template_type: str
    width: int = 0
    height: int = 0
    fps: int = msgspec.field(default=0, name="FPS")
    video_bitrate: int = 0
    gop: str = ""
    profile: int = 0
    audio_bitrate: int = 0
    audio_channel_num: int = 0
    audio_codec: str = ""
    audio_profile: str = ""
    audio_rate: int = 0


class _Custom(_Media):
    """What a custom template has beside that."""

    res_with_source: str = ""
    bitrate_with_source: str = ""
    fps_with_source: str = ""
    ext_with_source: str = ""
    de_interlaced: bool = False
    encrypt_parameters: str = ""


class AddCustomLiveStreamTranscode(_Custom):
    """Transcode the streams of an app by a template of one's own."""

    lazy: YesNo = "yes"
    kms_key_expire_interval: str = ""
    kms_key_id: str = msgspec.field(default="", name="KmsKeyID")
    kms_uid: str = msgspec.field(default="", name="KmsUID")


@operation(AddCustomLiveStreamTranscode)
async def add_custom_live_stream_transcode(call: Call, request: AddCustomLiveStreamTranscode) -> Fields:
    _refuse_encryption(
        EncryptParameters=request.encrypt_parameters,
        KmsKeyID=request.kms_key_id,
        KmsUID=request.kms_uid,
        KmsKeyExpireInterval=request.kms_key_expire_interval,
    )
    await call.services.transcoding.add(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="custom",
        lazy=request.lazy == "yes",
        parameters=_custom(request),
        actor=call.actor,
    )
    return {}


class UpdateCustomLiveStreamTranscode(_Custom):
    """Replace the parameters of a custom template."""

    lazy: YesNo | None = None


@operation(UpdateCustomLiveStreamTranscode)
async def update_custom_live_stream_transcode(call: Call, request: UpdateCustomLiveStreamTranscode) -> Fields:
    _refuse_encryption(EncryptParameters=request.encrypt_parameters)
    await call.services.transcoding.update(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="custom",
        lazy=None if request.lazy is None else request.lazy == "yes",
        parameters=_custom(request),
        actor=call.actor,
    )
    return {}


class AddRtsLiveStreamTranscode(_Media):
    """Transcode the streams of an app for playback within half a second."""

    delete_bframes: bool = False
    opus: bool = False
    lazy: YesNo = "yes"


@operation(AddRtsLiveStreamTranscode)
async def add_rts_live_stream_transcode(call: Call, request: AddRtsLiveStreamTranscode) -> Fields:
    await call.services.transcoding.add(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="rts",
        lazy=request.lazy == "yes",
        parameters=_rts(request),
        actor=call.actor,
    )
    return {}


class UpdateRtsLiveStreamTranscode(_Media):
    """Replace the parameters of an RTS template."""

    delete_bframes: bool = False
    opus: bool = False
    lazy: YesNo | None = None


@operation(UpdateRtsLiveStreamTranscode)
async def update_rts_live_stream_transcode(call: Call, request: UpdateRtsLiveStreamTranscode) -> Fields:
    await call.services.transcoding.update(
        call.account,
        request.domain,
        request.app,
        request.template,
        kind="rts",
        lazy=None if request.lazy is None else request.lazy == "yes",
        parameters=_rts(request),
        actor=call.actor,
    )
    return {}


class DeleteLiveStreamTranscode(_Keys):
    """Make these renditions no more; the template may be of any kind."""


@operation(DeleteLiveStreamTranscode)
async def delete_live_stream_transcode(call: Call, request: DeleteLiveStreamTranscode) -> Fields:
    await call.services.transcoding.remove(call.account, request.domain, request.app, request.template, actor=call.actor)
    return {}


class DescribeLiveStreamTranscodeInfo(Request):
    """The templates of a domain."""

    domain_transcode_name: str
    app_name: str = ""


@operation(DescribeLiveStreamTranscodeInfo)
async def describe_live_stream_transcode_info(call: Call, request: DescribeLiveStreamTranscodeInfo) -> Fields:
    found = await call.services.transcoding.templates(call.account, request.domain_transcode_name, app=request.app_name)
    return {"DomainTranscodeList": {"DomainTranscodeInfo": [_template(template) for template in found]}}


class DescribeLiveStreamTranscodeStreamNum(Request):
    """How many streams of a domain are transcoded now; with `template` also for each template."""

    domain_name: str
    split_type: SplitType = "domain"


@operation(DescribeLiveStreamTranscodeStreamNum)
async def describe_live_stream_transcode_stream_num(call: Call, request: DescribeLiveStreamTranscodeStreamNum) -> Fields:
    counts = await call.services.transcoding.counts(call.account, request.domain_name)
    templates = counts.templates if request.split_type == "template" else {}
    return {
        "Total": counts.streams,
        "TranscodedNumber": counts.transcoded,
        "UntranscodeNumber": counts.streams - counts.transcoded,
        "LazyTranscodedNumber": counts.lazy,
        "TranscodeStreamCountDetails": [{"Template": name, "Count": count} for name, count in sorted(templates.items())],
    }


class DescribeLiveDomainTranscodeParams(Request):
    """Whether an app that is pushed to a domain has a template. The service's answer has no more than that."""

    push_domain: str = msgspec.field(name="pushdomain")
    app: str = msgspec.field(name="app")
    template_name: str = msgspec.field(default="", name="template_name")


@operation(DescribeLiveDomainTranscodeParams)
async def describe_live_domain_transcode_params(call: Call, request: DescribeLiveDomainTranscodeParams) -> Fields:
    await call.services.transcoding.templates_of_push(call.account, request.push_domain, request.app, request.template_name)
    return {}


class GetTranscodeTaskStatus(Request):
    """Whether a rendition is being made. The service's answer has no more than that: it is an error if it is not."""

    push_domain: str = ""
    app: str = ""
    stream_name: str = ""
    transcoding_template: str = ""


@operation(GetTranscodeTaskStatus)
async def get_transcode_task_status(call: Call, request: GetTranscodeTaskStatus) -> Fields:
    await call.services.transcoding.task(
        call.account, request.push_domain, request.app, request.stream_name, request.transcoding_template
    )
    return {}


class RestartTranscodeTask(Request):
    """Let the job that makes a rendition begin anew."""

    push_domain: str = ""
    app: str = ""
    stream_name: str = ""
    transcoding_template: str = ""


@operation(RestartTranscodeTask)
async def restart_transcode_task(call: Call, request: RestartTranscodeTask) -> Fields:
    await call.services.transcoding.restart(
        call.account, request.push_domain, request.app, request.stream_name, request.transcoding_template, actor=call.actor
    )
    return {}


class AddTrancodeSEI(Request):
    """Write a text into all renditions of a source stream."""

    domain_name: str
    app_name: str
    stream_name: str
    text: str
    pattern: Pattern
    repeat: int
    delay: int


@operation(AddTrancodeSEI)
async def add_trancode_sei(call: Call, request: AddTrancodeSEI) -> Fields:
    await call.services.transcoding.insert_sei(
        call.account,
        request.domain_name,
        request.app_name,
        request.stream_name,
        request.text,
        pattern=request.pattern,
        repeat=request.repeat,
        delay_ms=request.delay,
    )
    return {}


class CreateCustomTemplate(Request):
    """Keep a template for mixing."""

    template: str
    custom_template: str


@operation(CreateCustomTemplate)
async def create_custom_template(call: Call, request: CreateCustomTemplate) -> Fields:
    await call.services.transcoding.add_mix_template(call.account, request.template, request.custom_template, actor=call.actor)
    return {}


class DeleteCustomTemplate(Request):
    """Forget a template for mixing."""

    template: str


@operation(DeleteCustomTemplate)
async def delete_custom_template(call: Call, request: DeleteCustomTemplate) -> Fields:
    await call.services.transcoding.remove_mix_template(call.account, request.template, actor=call.actor)
    return {}


class GetCustomTemplate(Request):
    """A template for mixing."""

    template: str


@operation(GetCustomTemplate)
async def get_custom_template(call: Call, request: GetCustomTemplate) -> Fields:
    content = await call.services.transcoding.mix_template(call.account, request.template)
    return {"Template": request.template, "CustomTemplate": content}


class GetAllCustomTemplates(Request):
    """All templates for mixing, as JSON by name. user_id: the account's own, or none."""

    user_id: str = ""


@operation(GetAllCustomTemplates)
async def get_all_custom_templates(call: Call, request: GetAllCustomTemplates) -> Fields:
    if request.user_id not in ("", call.account):
        raise invalid("UserId", "It is another account's.")
    found = await call.services.transcoding.mix_templates(call.account)
    contents = {name: msgspec.Raw(content.encode()) for name, content in found.items()}
    return {"CustomTemplates": msgspec.json.encode(contents).decode()}


def _refuse_encryption(**given: str) -> None:
    """Keys of a service that is not here: a stream in clear must not pass for an encrypted one."""
    for name, value in given.items():
        if value:
            raise parameter_not_implemented(name, NO_ENCRYPTION)


def _custom(request: _Custom) -> Parameters:
    return Parameters(
        **_media(request),
        res_with_source=read_with_source("ResWithSource", request.res_with_source, ResWithSource),
        bitrate_with_source=read_with_source("BitrateWithSource", request.bitrate_with_source, BitrateWithSource),
        fps_with_source=read_with_source("FpsWithSource", request.fps_with_source, FpsWithSource),
        ext_with_source=read_with_source("ExtWithSource", request.ext_with_source, ExtWithSource),
        deinterlace=request.de_interlaced,
    )


def _rts(request: AddRtsLiveStreamTranscode | UpdateRtsLiveStreamTranscode) -> Parameters:
    return Parameters(**_media(request), delete_bframes=request.delete_bframes, opus=request.opus)


def _media(request: _Media) -> dict[str, Any]:
    return {
        "type": request.template_type,
        "width": request.width,
        "height": request.height,
        "fps": request.fps,
        "video_kbps": request.video_bitrate,
        "gop": request.gop,
        "profile": request.profile,
        "audio_codec": request.audio_codec,
        "audio_profile": request.audio_profile,
        "audio_kbps": request.audio_bitrate,
        "audio_rate": request.audio_rate,
        "audio_channels": request.audio_channel_num,
    }


def _template(template: Template) -> Fields:
    given, video = template.parameters or _of_preset(template), rendition_of(template).video
    bframes = video is not None and video.bframes and not video.low_latency
    return {
        "TranscodeApp": template.app,
        "TranscodeName": template.template,
        "TranscodeTemplate": template.template,
        "IsLazy": template.lazy,
        "EncryptParameters": {"EncryptType": "", "KmsKeyExpireInterval": "", "KmsKeyID": ""},
        "CustomTranscodeParameters": {
            "TemplateType": given.type,
            "Width": given.width,
            "Height": given.height,
            "FPS": given.fps,
            "VideoBitrate": given.video_kbps,
            "Gop": given.gop,
            "VideoProfile": str(given.profile or 3) if video is not None else "",
            "Bframes": "yes" if bframes else "no",
            "RtsFlag": "yes" if template.kind == "rts" else "no",
            "DeInterlaced": given.deinterlace,
            "AudioBitrate": given.audio_kbps,
            "AudioChannelNum": given.audio_channels,
            "AudioCodec": "opus" if given.opus else given.audio_codec,
            "AudioProfile": given.audio_profile,
            "AudioRate": given.audio_rate,
            "ResWithSource": _with_source(given.res_with_source),
            "BitrateWithSource": _with_source(given.bitrate_with_source),
            "FpsWithSource": _with_source(given.fps_with_source),
            "ExtWithSource": _with_source(given.ext_with_source),
        },
    }


def _of_preset(template: Template) -> Parameters:
    """What a standard template says; its height is that of landscape pictures."""
    video = rendition_of(template).video or Video()
    type_ = f"{video.codec}-nbhd" if video.narrowband else video.codec
    return Parameters(type=type_, height=video.fit_width, fps=video.fps_max, video_kbps=video.kbps, profile=video.profile)


def _with_source(value: msgspec.Struct | None) -> Any:
    return {} if value is None else msgspec.to_builtins(value)
