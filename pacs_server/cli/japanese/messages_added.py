"""What is said in Japanese of what is added to a site, and why it cannot be: volumes, rules, routes, attributes, partners
and certificates; and why nothing happens yet where something is expected.
"""

from __future__ import annotations

from typing import Final

# How far a long piece of work is, in the line that is written over.
OF_PROGRESS: Final[dict[str, str]] = {
    "{} copies, {} read": "コピー {0} 件、{1} を読み取り済み",
    "{} files, {} read": "ファイル {0} 個、{1} を読み取り済み",
    "{} files, now {}": "ファイル {0} 個、処理中: {1}",
    "{} objects, now {}": "オブジェクト {0} 件、処理中: {1}",
    "{} objects, {}, {} of them copied": "オブジェクト {0} 件、{1}、うち写したもの {2} 件",
    "{} of {} objects sent to {}": "{2} へ {1} 件のうち {0} 件を送信済み",
    "{} studies compared, {}": "検査 {0} 件を比較済み、{1}",
    "{} studies, {} moved, now {}": "検査 {0} 件、{1} を移動済み、処理中: {2}",
    "{}: {} rows copied and compared": "{0}: {1} 行を写して比較済み",
}  # fmt: skip

OF_WHAT_IS_ADDED: Final[dict[str, str]] = {
    # settings of this run, the policy
    "{} is {} for this run, by {}; the settings file says otherwise":
        "{0} は今回、{2} により {1} とします。設定ファイルの値とは違います",
    "{}: want {}, need {}, degraded {}": "{0} から届くものの方針: want {1}、need {2}、degraded {3}",
    # where the server listens
    "cannot listen on {}:{}: {}; {}": "{0} のポート {1} で待ち受けられません ({2})。{3}",
    "choose another host or port, or stop what uses it":
        "別のアドレスかポートにするか、使っているものを止めてください",
    "choose a port from 1024 on, or have systemd bind it (docs/operate/running.md, pacs.socket)":
        "1024 以上のポートにするか、systemd に待ち受けさせてください (docs/operate/running.md、pacs.socket)",
    "name an address, or put the name into /etc/hosts, for which no name server has to be up":
        "アドレスを書くか、その名前を /etc/hosts に書いてください (ネームサーバなしで引けます)",
    "Address already in use": "すでに使われています",
    "make room there": "そこに空きを作ってください",
    # attributes that are added to the index
    "{} is no keyword of the DICOM dictionary{}": "{0} は DICOM の辞書にない属性です{1}",
    "; a tag like 0018,1000 will do as well": "。0018,1000 のようなタグでも指定できます",
    "; did you mean {}?": "。{0} のことですか",
    "the index holds {} anyway; nothing was changed": "{0} はもともとインデックスにあります。何も変えていません",
    "{} is not in the part of a data set before the pixel data, which is what is read":
        "{0} は画素データより前にある属性ではないため、読み取れません",
    "{} is no private element: its group has to be odd, and its creator is not empty":
        "{0} は私的要素ではありません。グループは奇数で、作成者名が必要です",
    "{} is private: name its creator, like {}xx{}:CREATOR": "{0} は私的要素です。{1}xx{2}:CREATOR のように作成者名を付けてください",
    "nothing is known of {}: name its value representation with --vr, for instance --vr LO":
        "{0} の VR が分かりません。--vr LO のように指定してください",
    "{} has VR {}, whose values cannot be compared; {} can": "{0} の VR は {1} で、値を照合できません。できるのは {2} です",
    "{} was added already, at level {}; nothing was changed": "{0} はレベル {1} にすでに追加されています。何も変えていません",
    "{} is only made for answers on the network; it cannot be asked for":
        "{0} はネットワークへの応答のときだけ作られるため、ここでは指定できません",
    "{} is counted and cannot be searched; {}= with nothing behind shows it":
        "{0} は数えた値なので検索の条件にできません。表示するには {1}= と、値なしで指定してください",
    "{} has more values than are looked for at once; ask in parts":
        "{0} の値が多すぎます。何回かに分けて指定してください",
    "{} is not an attribute of series that the index holds, like Modality":
        "{0} は Modality のようなシリーズの属性としてインデックスにありません",
    # rules of tiers
    "rule {} needs one place to move to: --to TIER or --to-archive AET":
        "規則 {0} には移動先を一つ指定してください: --to TIER または --to-archive AET",
    "rule {} cannot make room by sending to {}: that takes too long":
        "規則 {0} では {1} へ送って空きを作ることはできません。時間がかかりすぎます",
    "not removed: {}": "削除できませんでした: {0}",
    "not known yet": "まだ分かりません",
    "about {} s, as fast as moves were of late": "約 {0} 秒 (最近の移動の速さによる)",
    "{} to be removed": "削除待ち {0}",
    "no volume of tier {} takes anything now: {}": "階層 {0} に今使えるボリュームがありません: {1}",
    "it means nothing that is there": "当てはまるものがありません",
    # volumes
    "this volume is known already, as {} at {}; nothing was changed":
        "このボリュームは {0} としてすでに登録されています ({1})。何も変えていません",
    "another volume has the name {}; nothing was changed": "{0} という名前のボリュームが別にあります。何も変えていません",
    "there is no bucket {}: make it, or mend the name or the endpoint":
        "バケット {0} がありません。作成するか、名前かエンドポイントを直してください",
    "the S3 server refuses ({}): check the keys and what they may do there":
        "S3 サーバに拒否されました ({0})。鍵とその権限を確かめてください",
    "the S3 server refuses ({}): set the clock of this machine, or of that server":
        "S3 サーバに拒否されました ({0})。この計算機かそのサーバの時計を合わせてください",
    "the S3 server has no room ({}): make room, or add a volume":
        "S3 サーバに空きがありません ({0})。空きを作るか、ボリュームを追加してください",
    "the S3 server cannot be used: {}": "S3 サーバを使えません: {0}",
    "{} is no endpoint: give the URL of the S3 server": "{0} はエンドポイントではありません。S3 サーバの URL を指定してください",
    "{} has no aws_access_key_id and aws_secret_access_key in a section [default]":
        "{0} の [default] に aws_access_key_id と aws_secret_access_key がありません",
    "{} holds keys and everybody can read it: chmod 600 it": "鍵のファイル {0} を誰でも読めます。chmod 600 としてください",
    "{} cannot be read as a credentials file: see pacs storage add --help":
        "{0} を鍵のファイルとして読めません。pacs storage add --help を見てください",
    # partners
    "{}; nothing was changed": "{0}。何も変えていません",
    "{} objects are missing here, {} there, {} are on their way":
        "こちらにないもの {0}、相手にないもの {1}、送信中 {2}",
    "both hold the same as {}": "{0} とこちらの内容は同じです",
    "they were entered to be sent: pacs partner list shows how many are left":
        "送信待ちに入れました。残りの数は pacs partner list で確認できます",
    "that is the site of the partner {} already; a site is one partner":
        "それはすでに相手サーバ {0} として登録されているサイトです。一つのサイトは一つの相手サーバとします",
    "{} has the certificate {}, not the one that was pinned": "{0} の証明書は {1} で、登録したものと違います",
    # certificates
    "{} holds no certificate in PEM; is it all there?": "{0} に PEM の証明書がありません。ファイルが欠けていませんか",
    "{} holds no key in PEM without a pass phrase: {}": "{0} にパスフレーズのない PEM の鍵がありません ({1})",
    "{} is not the key of {}": "{0} は {1} の鍵ではありません",
    "{} is not here: make certificates where the key of that authority is, and copy them, or move {} away to begin with "
    "another authority":
        "{0} がここにありません。その認証局の鍵がある所で証明書を作って写すか、{1} を移動して新しい認証局から始めてください",
    "the authority {} has expired: move it away, and every node and peer needs the new one":
        "認証局 {0} は期限が切れています。移動して作り直してください。すべてのノードと接続相手に新しいものが必要です",
    # why something stays in the trash
    "its study is on hold": "検査が保留中です",
    "it is not in the trash": "ごみ箱にありません",
    "it stays in the trash until {}": "{0} までごみ箱に置きます",
    "its study has to be kept until {}": "検査を {0} まで保管します",
    "partner {} does not know yet that it was deleted": "相手サーバ {0} に削除がまだ伝わっていません",
    "partner {} was not heard of for {} minutes": "相手サーバ {0} と {1} 分以上連絡が取れていません",
    "partner {} does not have all of its series yet": "相手サーバ {0} にまだすべてのシリーズが届いていません",
    # why a route sends nothing
    "{} came from {} itself": "{0} 件は {1} から届いたもの",
    "{} sent, waiting or refused already": "{0} 件は送信済み、送信待ち、または拒否されたもの",
    "{} came from others than {}": "{0} 件は {1} 以外から届いたもの",
    "{} do not match {}={}": "{0} 件は {1}={2} に合わないもの",
    "the study is quiet at {}": "検査は {0} に落ち着く見込み",
    "the route is paused: pacs route resume {}": "ルートは停止中。再開: pacs route resume {0}",
    "its window opens at {}": "時間帯は {0} から",
    # how an attribute that was added is matched
    "list of UID": "UID のリスト",
    "single value or wildcard, case-sensitive": "単一の値かワイルドカード、大文字と小文字を区別",
    "person name, folded, wildcard, any group": "人名、表記を揃えて、ワイルドカード、どの表記でも",
    "single value or range": "単一の値か範囲",
    "single value or range, by precision": "単一の値か範囲、精度に従う",
    "single value or range of dates with times, by precision, in UTC": "日付と時刻の単一の値か範囲、精度に従う、UTC",
    "single value, by number": "単一の値、数として",
}  # fmt: skip
