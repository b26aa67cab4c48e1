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
    "{} {}; nothing was moved, and it {}. {}": "{0}: {1}。何も切り替えていません({2})。{3}",
    "there is no partner: pacs partner add": "相手サーバの登録がありません。登録するには: pacs partner add",
    "{}, which says what is left of a failover, cannot be read ({}): remove it, and look at pacs failover status on both "
    "sites":
        "切り替えの残りを記した {0} を読めません ({1})。消してから、両方のサイトで pacs failover status を確かめてください",
    # members of a database that Patroni runs
    "Patroni says: {}": "Patroni の返答: {0}",
    "switch over": "切り替え (switchover)",
    "fail over": "切り替え (failover)",
    "{} is not made the leader: {}": "{0} を主系にしません: {1}",
    "{} is the leader: its copy is the one that the others are made from":
        "{0} は主系です。ほかのメンバーの複製の元なので、作り直せません",
    "nobody leads, so there is nothing to make a copy of; look at etcd":
        "主系がないため、複製の元がありません。etcd を確かめてください",
    "the REST API of {} does not answer, or is not in patroni.urls":
        "{0} の REST API が応答しないか、patroni.urls にありません",
    "no member answers any more; nothing was asked": "応答するメンバーがなくなりました。何も依頼していません",
    "Patroni refuses, with {}: {}": "Patroni に断られました ({0}): {1}",
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
    "  study {} series {}": "  検査 {0} シリーズ {1}",
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
    "1 loss of {} of {} parts ({}): {}": "全 {1} 箇所 ({2}) のうち {0} 箇所を失う 1 通り: {3}",
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
    "Try again later, or with a longer --wait": "あとでもう一度実行するか、--wait を長くしてください",
    "It does not get over: {}": "引き渡せない理由: {0}",
    "goes on draining": "受付は止めたままです",
    "takes associations again": "受付は再開しました",
    "the clocks of the two sites differ by {} s: times that they tell are not comparable":
        "両サイトの時計が {0} 秒ずれています。互いの時刻を比べられません",
    "the two sites run different releases: {}": "両サイトのリリースが違います: {0}",
    # why a site could not be tried out, and why its hook failed
    "the hook {} cannot be run: {}; see failover.hook": "フック {0} を実行できません ({1})。failover.hook を見てください",
    "the hook {} did not end within {} s": "フック {0} が {1} 秒以内に終わりませんでした",
    "the hook {} ended with {}": "フック {0} が終了コード {1} で終わりました",
    "the hook {} ended with {}: {}": "フック {0} が終了コード {1} で終わりました: {2}",
    "it is not known where {} listens, so it was not tried out":
        "{0} がどこで待ち受けているか分からないため、動作を確認していません",
    "{} did not store a test object: it answered {}": "{0} は試験用オブジェクトを保管しませんでした (ステータス {1})",
    "{} gave an answer that cannot be read: {}": "{0} の検索結果を読めません: {1}",
    "{} did not find the test object that it had stored: {} answers":
        "{0} は、保管した試験用オブジェクトを検索できませんでした (結果 {1} 件)",
    "{} gave the test object back with other bytes, with status {}":
        "{0} から返ってきた試験用オブジェクトの内容が違います (ステータス {1})",
    "{} gave the test object back not at all, with status {}":
        "{0} から試験用オブジェクトが返ってきませんでした (ステータス {1})",
    "{} does not allow {} {}; there: pacs ae set {} --allow echo,store,find,get":
        "{0} は {1} に許可していません ({2})。相手側で pacs ae set {3} --allow echo,store,find,get を実行してください",
    "to store": "保管",
    "to find": "検索",
    "to get objects back": "取得",
    # Patroni
    "{} is no member; there are {}": "{0} というメンバーはありません。あるのは {1} です",
    "{} does not tell its version of Patroni: is its REST API in patroni.urls?":
        "{0} の Patroni の版が分かりません。その REST API は patroni.urls にありますか",
    "no member reaches etcd, so Patroni can change nothing":
        "どのメンバーも etcd に届かないため、Patroni は何も変えられません",
    "Patroni is paused by somebody: patronictl resume": "Patroni が一時停止されています。再開するには: patronictl resume",
    "a switch-over is scheduled already: patronictl list": "切り替えがすでに予約されています: patronictl list",
    "{} leads already": "{0} はすでに主系です",
    "{} has the tag nofailover": "{0} に nofailover のタグがあります",
    "{} is not the synchronous standby: it may lack what was acknowledged":
        "{0} は同期待機系ではありません。保存したと答えたものが欠けている可能性があります",
    "the timeline of {} is not known": "{0} のタイムラインが分かりません",
    "{} is on timeline {}, but the leader on {}": "{0} のタイムラインは {1} ですが、主系は {2} です",
    "{} does not answer: {}": "{0} が応答しません: {1}",
    "{} does not come to an end of its answer": "{0} の返答が終わりません",
    "{} answers {} and no JSON object; is it Patroni's REST API?":
        "{0} は {1} と答え、JSON を返しません。Patroni の REST API ですか",
    "{}; whether it was done is not known: look again at what leads":
        "{0}。行われたかどうか分かりません。主系がどれかを確かめてください",
    "{} wants a user name and password: patroni.user and patroni.password_file":
        "{0} には利用者名とパスワードが必要です: patroni.user と patroni.password_file",
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
