"""What is said of sending and forwarding: a part of the Japanese help."""

from __future__ import annotations

from typing import Final

SENDING: Final[dict[str, str]] = {
    "Send objects to other systems, and show what waits.": "ほかのシステムへ送信し、待っているものを表示します。",
    "A registered peer.": "登録済みの接続相手。",
    "Wait until everything is sent, refused, or cannot be sent now.":
        "すべて送信されるか、拒否されるか、今は送れないと分かるまで待ちます。",
    "Send a study. It is queued, and sent by the running server, also after a restart. Ends with 3 or 13 when --wait saw "
    "it fail.":
        "検査を送信します。送信待ちに入り、動いているサーバが送ります。再起動しても忘れません。"
        "--wait で失敗を見たときは 3 か 13 で終わります。",
    "Send a series.": "シリーズを送信します。",
    "Send one object.": "オブジェクトを一つ送信します。",
    "Send every study of a patient.": "患者の検査をすべて送信します。",
    "Who issued the patient ID, where two did.": "同じ患者 ID が二者から発行されているときの発行者。",
    "Send the studies of an accession number.": "受付番号の検査を送信します。",
    "Show what each destination got, waits for and refused.": "送信先ごとに、送信済み、待ち、拒否を表示します。",
    "Show each object that a destination refused for good.": "送信先が受け取らないと決めたオブジェクトをそれぞれ表示します。",
    "Only what is for this peer.": "この接続相手の分だけ。",
    "Send at once what failed, also what was refused for good.": "失敗したものをすぐに送ります。拒否されたものも送ります。",
    "Forget what waits for a destination, and what it refused. The objects stay.":
        "送信先を待つものと拒否されたものを取り消します。オブジェクトは残ります。",
    "Forward what arrives by itself: to whom, what, when.": "届いたものを自動で転送します(何を、誰に、いつ)。",
    "Only what this peer sends; may be given again. IMPORT is pacs import.":
        "この接続相手が送ったものだけ。繰り返し指定できます。IMPORT は pacs import です。",
    "A registered peer; may be given again.": "登録済みの接続相手。繰り返し指定できます。",
    "Wait until nothing of the study has arrived for so long.": "検査に何も届かない時間がこれだけ続くまで待ちます。",
    "Send only in this part of the day, local time.": "一日のうちこの時間帯(現地時刻)だけ送ります。",
    "With a new study, also the N latest earlier ones of the patient.": "新しい検査とともに、同じ患者の直近の過去検査 N 件も送ります。",
    "Only priors with the same value, like that of Modality; may be given again.":
        "同じ値をもつ過去検査だけ(Modality など)。繰り返し指定できます。",
    "Forward what arrives from now on and fits. Every KEY has to match, as in pacs find. What came from a destination is "
    "not sent back to it, and what is held already is not forwarded when it arrives again.":
        "これから届くもののうち、条件に合うものを転送します。KEY は pacs find と同じ照合で、すべて合う必要があります。"
        "送信先から来たものは送り返さず、保管済みのものは再び届いても転送しません。",
    "List the routes.": "転送ルートの一覧を表示します。",
    "Show one route.": "転送ルートを一つ表示します。",
    "Without a UID: of so many studies that began to arrive last.": "UID を省くと、最近届き始めた検査をこの件数だけ調べます。",
    "Say which held studies it would send, and why others not.":
        "保管中の検査のうち送るもの、送らないものとその理由を示します。何も送りません。",
    "Studies of which something arrived since, in UTC: 2026-01-31 or 2026-01-31T08:00.":
        "この時刻(UTC)より後に何かが届いた検査。2026-01-31 または 2026-01-31T08:00。",
    "Forward what is held, as if it arrived now. For what arrived before the route was made, and for what a site that was "
    "lost had not forwarded. What this site sent for a route already is not sent again.":
        "保管中のものを、今届いたものとして転送します。ルートを作る前に届いたものや、失われた拠点が転送し終えていなかった"
        "もののためです。この拠点がルートですでに送ったものは、もう送りません。",
    "Let a route and what it has queued wait. What arrives meanwhile is forwarded when it is resumed.":
        "転送ルートと、その送信待ちを止めます。止めている間に届いたものは、再開すると転送します。",
    "Let a paused route go on.": "止めた転送ルートを再開します。",
    "Forget a route, and what it has queued and not sent.": "転送ルートと、まだ送っていない送信待ちを消します。",
}  # fmt: skip
