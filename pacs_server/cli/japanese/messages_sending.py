"""What is sent and forwarded, and from which site: `pacs send`, `pacs route` and `pacs failover`, in Japanese."""

from __future__ import annotations

from typing import Final

OF_SENDING: Final[dict[str, str]] = {
    "queued {} objects for {}": "{1} への送信待ちに {0} 件を入れました",
    "{} sent to {}, {} refused": "{1} に {0} 件送信しました。拒否 {2} 件",
    "{} were deleted meanwhile": "{0} 件はその間に削除されました",
    "what waits is tried at once; {} that were refused are sent once more":
        "待っているものをすぐに送ります。拒否されていた {0} 件も送り直します",
    "would forget {} objects that were to be sent to {}; do it with --yes":
        "{1} への送信待ち {0} 件を取り消します。実行するには --yes を付けてください",
    "forgot {} objects that were to be sent to {}": "{1} への送信待ち {0} 件を取り消しました",
    "nothing is held with {}; pacs find shows what is": "{0} に該当するものは保管していません。pacs find で確認できます",
    "no server runs here; it stays queued, and is sent once one does: pacs serve":
        "サーバが動いていません。送信待ちに残り、動けば送られます: pacs serve",
    "{}; it stays queued and is tried again: pacs send list": "{0}。送信待ちに残り、再び送ります: pacs send list",
    "added route {}; what it would do with what is held: pacs route test {}":
        "転送ルート {0} を追加しました。保管中のものでの動きは: pacs route test {1}",
    "route {} looks at {} series; pacs send list shows what it queues":
        "転送ルート {0} が {1} シリーズを調べます。送信待ちは pacs send list で確認できます",
    "no destination refused anything for good": "送信先に最終的に断られたものはありません",
    "nothing was queued for any destination": "どの送信先にも、送るものはありません",
    "nothing is forwarded by itself; pacs route add makes a route":
        "自動では何も転送していません。pacs route add でルートを作れます",
    "there is no route {}; pacs route list shows those there are":
        "転送ルート {0} はありません。pacs route list で確認できます",
    "would forget route {} and what it has queued; do it with --yes":
        "転送ルート {0} と送信待ちを消します。実行するには --yes を付けてください",
    "forgot route {}; {} objects that it had queued are not sent":
        "転送ルート {0} を消しました。送信待ちだった {1} 件は送りません",
    "route {} {}": "転送ルート {0}: {1}",
    "{} takes no new associations; undo with --end": "{0} は新しい接続を受け付けません。戻すには --end を付けてください",
    "{} takes associations again": "{0} は接続の受付を再開しました",
    "{} and this site hold the same": "{0} とこのサイトの内容は同じです",
    "{} and this site are not equal yet; what is left goes on by itself: pacs failover status":
        "{0} とこのサイトの内容はまだ同じではありません。残りは自動で続きます: pacs failover status",
    "no failover is unfinished; pacs failover status tells which site is preferred":
        "途中の切り替えはありません。優先サイトは pacs failover status で確認できます",
    "this site is the preferred one": "このサイトが優先サイトです",
    "no site is preferred yet; pacs failover to here makes this one it":
        "優先サイトはまだ決まっていません。このサイトにするには: pacs failover to here",
    "{} answers, so it is not lost: leave out --source-lost, or stop its server first":
        "{0} は応答しているので、失われていません。--source-lost を外すか、先に {0} のサーバを止めてください",
    "{} does not answer ({}): start it, or mend the network; pacs partner show says more":
        "{0} が応答しません ({1})。起動するか、ネットワークを直してください。詳しくは pacs partner show",
    "{} does not answer ({}), so that it cannot hand over what {} lacks: mend that, or, if it is lost, pacs failover to {} "
    "--source-lost":
        "{0} が応答しないため ({1})、{2} にないものを引き渡せません。直すか、失われたのなら pacs failover to {3} --source-lost を実行してください",
    "a failover to {} is unfinished: pacs failover to {} goes on with it, pacs failover abandon gives it up":
        "{0} への切り替えが途中です。続けるには pacs failover to {1}、取りやめるには pacs failover abandon",
    "{} takes no associations: pacs failover demote {} --end, then again":
        "{0} は接続を受け付けていません。pacs failover demote {1} --end のあと、もう一度実行してください",
    "nothing is exchanged with {} for the time being: pacs partner resume {}":
        "{0} とのやり取りは止められています。再開するには pacs partner resume {1}",
    "{} offers no C-GET, and may not store here what it sends for a C-MOVE: pacs ae set {} --allow {}":
        "{0} は C-GET に応じず、C-MOVE で送ってくるものをここに保管する権限もありません: pacs ae set {1} --allow {2}",
    "{} offers no C-GET, and the server of this archive, to which it sends for a C-MOVE, does not run: start pacs serve, "
    "and try again":
        "{0} は C-GET に応じず、C-MOVE の送り先となるこのアーカイブのサーバが動いていません。pacs serve を起動してから、もう一度実行してください",
    "{} offers no C-GET, and this site does not take now what it sends for a C-MOVE: pacs failover status says until when":
        "{0} は C-GET に応じず、C-MOVE で送ってくるものをこのサイトは今は受け取りません。いつまでかは pacs failover status で確認できます",
    "{} offers no C-GET and does not know {} as the destination of a C-MOVE (status 0xA801): register {} there with the "
    "address of this server":
        "{0} は C-GET に応じず、C-MOVE の送り先 {1} を知りません (ステータス 0xA801)。{0} に {2} をこのサーバのアドレスで登録してください",
    "{} says that it sent {} objects to {}, but none came here: look there whether {} is registered with the address of "
    "this server, and whether {} is named as Move Originator":
        "{0} は {2} に {1} 件送ったと答えましたが、ここには届いていません。{0} で {3} がこのサーバのアドレスで登録され、Move Originator が {4} になっているかを確認してください",
}  # fmt: skip
