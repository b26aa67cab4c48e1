"""Which site is used, and what the archive survives, in Japanese: pacs failover, and pacs doctor --survive."""

from __future__ import annotations

from typing import Final

OF_SITES: Final[dict[str, str]] = {
    # the steps of a failover
    "drain": "受付停止",
    "hand over": "引き渡し",
    "prefer": "優先サイトの変更",
    "hook": "フック",
    "try out": "動作確認",
    "resume": "受付再開",
    # what a failover looked at
    "on {} volumes, needs {}": "ボリューム {0} 個に可能(必要なのは {1} 個)",
    "no: {}": "いいえ({0})",
    # what speaks against it
    "the failover would be between {} and {}: give the command on one of the two":
        "{0} と {1} の間の切り替えです。どちらかのサイトで実行してください",
    "{} has schema {}: install the same release on both sites first":
        "{0} のスキーマは {1} です。先に両方のサイトに同じリリースを入れてください",
    "{} has {} for a new object: bring its volumes back (pacs storage list there)":
        "{0} で新しいオブジェクトに使えるのは {1}。ボリュームを復旧してください(相手側で pacs storage list)",
    "no registered peer is known as {}, so that it cannot be tried out: pacs ae add AET HOST PORT, then pacs partner set {} "
    "--aet AET":
        "{0} にあたる接続相手が登録されていないため、動作を確認できません。pacs ae add AET HOST PORT のあと、"
        "pacs partner set {1} --aet AET を実行してください",
    "{} {}; nothing was moved, and it {}. Try again later, or with a longer --wait":
        "{0}: {1}。何も切り替えていません({2})。あとでもう一度実行するか、--wait を長くしてください",
    # how it ended
    "{} is the preferred site": "優先サイトは {0} です",
    "{} is the preferred site already": "優先サイトはすでに {0} です",
    "{} is preferred; what failed is tried again by: pacs failover to {}":
        "優先サイトは {0} です。失敗した手順をもう一度行うには: pacs failover to {1}",
    "only {} has {} objects of {} series, as of {}": "{0} だけが持つもの: {1} オブジェクト ({2} シリーズ)、{3} の時点",
    "what it took after that is not known; once it is back: pacs failover resync, on either site":
        "それより後に受け取ったものは分かりません。復旧したら、どちらかのサイトで pacs failover resync を実行してください",
    "{} was never heard of, so it is not known what only it has":
        "{0} とは一度も連絡が取れていないため、{0} だけが持つものは分かりません",
    "gave up the failover to {}": "{0} への切り替えを取りやめました",
    "{} does not know it yet, and takes no associations when it is back: {}":
        "{0} にはまだ伝わっていません。復旧しても接続を受け付けません: {1}",
    "then, on that site: pacs failover demote here --end":
        "そのとき、そのサイトで実行するもの: pacs failover demote here --end",
    "{} has {} associations open, and owes {} objects of {} series":
        "{0}: 開いているアソシエーション {1}、引き渡していないもの {2} オブジェクト ({3} シリーズ)",
    "{} lacks {}, this site {}, on their way {}": "{0} にないもの {1}、このサイトにないもの {2}、送信中 {3}",
    # which losses the archive survives
    "servers": "サーバ",
    "databases": "データベース",
    "domain": "故障範囲",
    "domains": "故障範囲",
    "{} losses of {} of {} parts ({}): {}": "全 {2} 箇所 ({3}) のうち {1} 箇所を失う {0} 通り: {4}",
    "end data": "データを失うもの",
    "end retrieving": "取り出せなくなるもの",
    "end storing": "保管できなくなるもの",
    "survives any {}": "どの {0} 箇所を失っても維持可",
    "survives no loss": "一つも失えません",
    "does not even go on now": "今すでに維持できていません",
    "without {}, {}": "{0} を失うと、{1}",
    "any loss": "何か",
    "{} objects": "オブジェクト {0} 件",
    "objects": "オブジェクト",
    "{} that lie on {} alone": "{1} だけにある{0}",
    "{} or in {} other such ways": "{0}(同じような場合がほかに {1} 通り)",
    "{} objects have no copy that can be read": "{0} 件のオブジェクトに読めるコピーがありません",
    "{} are lost": "{0}が失われます",
    "{} are out of reach of the servers that are left": "{0}に、残ったサーバの手が届きません",
    "no server is left; the index can be made anew on another one, from the files":
        "サーバが残りません。インデックスは別のサーバで、ファイルから作り直せます",
    "no server has its index; it can be made anew from the files":
        "インデックスを持つサーバがありません。ファイルから作り直せます",
    "no server that takes new objects has degraded {} volumes to write to":
        "新しいオブジェクトを受け取るサーバのどれにも、書き込めるボリュームが degraded {0} 個ありません",
    # what would help
    "helps: {}; then {}": "改善策: {0}。その結果: {1}",
    "the copies that want {} asks for, once they are made": "want {0} に足りないコピーを作り終えること",
    "degraded {} in place of {}": "degraded を {1} から {0} に",
    "want {} in place of {}": "want を {1} から {0} に",
    "one more volume, outside the servers, in a fault domain of its own":
        "サーバの外に、独立した故障範囲のボリュームをもう一つ",
    "one more volume, outside the servers, in a fault domain of its own, and want {} in place of {}":
        "サーバの外に、独立した故障範囲のボリュームをもう一つ置き、want を {1} から {0} に",
    "one more database, outside the servers, that each of them can use":
        "サーバの外に、どのサーバからも使えるデータベースをもう一つ",
    "one more server that uses the same volumes and databases": "同じボリュームとデータベースを使うサーバをもう一台",
    "one more server with a database and a volume of its own, to which every object goes as well":
        "自分のデータベースとボリュームを持ち、すべてのオブジェクトが届くサーバをもう一台",
}  # fmt: skip

WHY_A_SITE: Final[dict[str, str]] = {
    "has {} associations open, and owes {} objects of {} series":
        "開いているアソシエーション {0}、引き渡していないもの {1} オブジェクト ({2} シリーズ)",
    "{}, older than {}": "{0} ({1} より古い)",
    "{} has {} volumes for a new object and needs {}: what it takes has fewer copies until its volumes are back":
        "{0} で新しいものを保存できるボリュームは {1} 個で、必要なのは {2} 個です。ボリュームが戻るまで、受け取るもののコピーは少なくなります",
    "{} volumes and needs {}": "ボリューム {0} 個で、必要なのは {1} 個です",
    "goes on draining": "受付は止めたままです",
    "takes associations again": "受付は再開しました",
    "the clocks of the two sites differ by {} s: times that they tell are not comparable":
        "両サイトの時計が {0} 秒ずれています。互いの時刻を比べられません",
    "the two sites run different releases: {}": "両サイトのリリースが違います: {0}",
    # why a partner is not linked
    "{} refused: {}": "{0} に断られました: {1}",
    "{} is of the site {} now, and was of {} before: its database was made anew or restored; if that is right: pacs partner "
    "remove NAME --yes, then pacs partner add, on the side that was not":
        "{0} は今はサイト {1} で、前は {2} でした。データベースが作り直されたか、復元されています。それで正しければ、"
        "そうでない側で pacs partner remove NAME --yes、続けて pacs partner add を実行してください",
    "{} is of this site itself: both use one database, or one is a copy of the other's":
        "{0} はこのサイト自身です。両方が同じデータベースを使っているか、一方が他方の写しです",
    "it has paused this partner, and goes on with: pacs partner resume {}":
        "相手側で停止しています。再開するには、相手側で pacs partner resume {0}",
    "the other side ended the TLS handshake ({}): has it pinned the certificate of this node?":
        "相手が TLS の接続手順を打ち切りました ({0})。相手側に、このサーバの証明書が登録されていますか",
    "the other side does not speak TLS 1.3 as it should: {}": "相手の TLS 1.3 が正しくありません: {0}",
}  # fmt: skip
