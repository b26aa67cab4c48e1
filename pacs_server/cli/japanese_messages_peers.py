"""What is said of persons who log in, and of peers that were examined: a part of the Japanese messages."""

from __future__ import annotations

from typing import Final

OF_PEERS: Final[dict[str, str]] = {
    "added the user {}": "利用者 {0} を登録しました",
    "changed the user {}": "利用者 {0} を変更しました",
    "forgot the user {}": "利用者 {0} の登録を消しました",
    "would forget the user {}, who could then log in nowhere; do it with --yes":
        "利用者 {0} の登録を消すと、どこにもログインできなくなります。実行するには --yes を付けてください",
    "no user is known; add one with: pacs user add": "利用者は登録されていません。追加: pacs user add",
    "no user {} is known; pacs user list shows them": "利用者 {0} は登録されていません。pacs user list で確認できます",
    "the user {} is known already; change what is known with: pacs user set":
        "利用者 {0} はすでに登録されています。変更: pacs user set",
    "a passcode has at least {} characters": "パスコードは {0} 文字以上にしてください",
    "the passcode cannot be read from {}: {}": "パスコードを {0} から読めません: {1}",
    "its user logs in over TLS alone, which is off: set tls.port in pacs.yaml":
        "利用者のログインは TLS でだけできますが、TLS は無効です。pacs.yaml の tls.port を設定してください",
    "no token is believed: identity.jwt in pacs.yaml needs an issuer and key_files":
        "トークンは一つも受け入れられません。pacs.yaml の identity.jwt に issuer と key_files を書いてください",
    # pacs doctor AET: the checks
    "ok": "正常",
    "failed": "失敗",
    "way": "経路",
    "name": "ホスト名",
    "association": "アソシエーション",
    "certificate": "証明書",
    "what it offers": "提供するもの",
    "transfer syntaxes": "転送構文",
    "its calls": "相手からの接続",
    "login": "ログイン",
    "rights": "権限",
    "clock": "時計",
    "character set": "文字集合",
    "destinations": "移動先",
    "queue": "送信待ち",
    # the way there
    "it only calls us: it has no address here": "接続してくるだけの相手です(アドレスの登録がありません)",
    "{} has no address: {}": "{0} のアドレスが見つかりません: {1}",
    "correct that name in DNS, or name the address: pacs ae set {} --host ADDRESS":
        "DNS でその名前を正すか、アドレスを登録してください: pacs ae set {0} --host ADDRESS",
    "{}: check that {}:{} is its address, that it is running, and the firewalls between":
        "{0}: アドレスが {1}:{2} で正しいこと、相手が動いていること、途中のファイアウォールを確かめてください",
    "{}: its AE title is another one than {}; register it here by its own":
        "{0}: 相手の AE タイトルは {1} ではありません。相手自身のタイトルで登録してください",
    "{}: register {} (this archive) there, with the address from which it calls":
        "{0}: 相手側に {1}(このアーカイブ)を、こちらのアドレスとともに登録してください",
    "{}: register {} (this archive) there, and check that its AE title is {}":
        "{0}: 相手側に {1}(このアーカイブ)を登録し、相手の AE タイトルが {2} であることを確かめてください",
    "{}: something else than a DICOM server may listen there, or it waits for TLS (pacs ae set --tls)":
        "{0}: そのポートは DICOM サーバではないか、TLS を待っています(pacs ae set --tls)",
    "{}: look into the peer's log": "{0}: 相手のログを見てください",
    "{}: look into its log": "{0}: 相手のログを見てください",
    "it does not offer Verification to us: allow it there; storing may work all the same":
        "相手はこちらに Verification を許していません。相手側で許可してください。保存はできるかもしれません",
    "it takes no Secondary Capture image from us: allow storing there; it may take other kinds":
        "相手は Secondary Capture を受け取りません。相手側で保存を許可してください。ほかの種類は受け取るかもしれません",
    "it refused the test object with status {}: check its rights for us, its disk and its log":
        "試験用オブジェクトは状態 {0} で断られました。相手側の権限、ディスク、ログを確かめてください",
    "it speaks TLS on that port": "そのポートでは TLS が使われています",
    "it speaks DICOM without TLS on that port": "そのポートでは TLS なしの DICOM が使われています",
    "name its port for TLS: pacs ae set {} --port P; or call it --no-tls":
        "TLS のポートを登録してください: pacs ae set {0} --port P。または --no-tls で接続してください",
    "its certificate expires in {} days": "相手の証明書はあと {0} 日で期限が切れます",
    "its certificate has expired": "相手の証明書は期限が切れています",
    "have a new one made there; if it is pinned: pacs ae set {} --certificate":
        "相手側で新しい証明書を作ってください。フィンガープリントを登録しているなら: pacs ae set {0} --certificate",
    # what it offers
    "nothing is held yet that could be sent to it": "送れるものがまだ保管されていません",
    "it takes none of the kinds of objects that are held here": "ここにある種類のオブジェクトは一つも受け取りません",
    "of the newest objects, {} can be sent to it as they are, {} transcoded":
        "最近のオブジェクトのうち {0} 件はそのまま、{1} 件は変換して送れます",
    "of the newest objects, {} can be sent to it as they are, {} transcoded, {} not at all: {}":
        "最近のオブジェクトのうち {0} 件はそのまま、{1} 件は変換して送れますが、{2} 件は送れません: {3}",
    "if it should get them: allow these SOP classes and transfer syntaxes there":
        "送るべきものなら、相手側でその SOP クラスと転送構文を許可してください",
    "it answers no queries of ours": "こちらからの検索は受け付けません",
    "{}: allow {} to query there": "{0}: 相手側で {1} に検索を許可してください",
    "it answers with studies that were not asked for": "求めていない検査まで答えます",
    "its answers cannot be relied on: it does not match StudyInstanceUID":
        "答えは信頼できません。StudyInstanceUID で絞り込んでいません",
    "it sends nothing that we ask for": "こちらの求めでは何も送りません",
    "it does not know this archive as a destination": "相手はこのアーカイブを移動先として知りません",
    "register {} there, with the address of this server and port {}":
        "相手側に {0} を、このサーバのアドレスとポート {1} で登録してください",
    "register {} there, with the address of this server and port {}; here: pacs status, and pacs ae seen":
        "相手側に {0} を、このサーバのアドレスとポート {1} で登録してください。こちらでは pacs status と pacs ae seen を見てください",
    "it answers status {} when nothing is asked for; --send-back tries the way here":
        "何も求めない要求には状態 {0} を返します。--send-back で、こちらへの経路を試せます",
    "it sent the tiny object back, which is held here now: patient {}":
        "小さなオブジェクトが送り返されました。ここに保管されています(患者 {0})",
    "it could not send the tiny object here: status {}": "小さなオブジェクトをここへ送れませんでした: 状態 {0}",
    # what it did here
    "it did something here last at {}": "最後の操作は {0} でした",
    "from {} it was turned away {} times, last at {}: {}": "{0} からの接続を {1} 回断りました(最後は {2}): {3}",
    "pacs user list, where its user could not log in; else {}":
        "利用者がログインできないなら pacs user list を見てください。そうでなければ {0}",
    "nothing came from it in {} days": "{0} 日のあいだ、何も届いていません",
    "have it call {} at port {}, from {}": "{2} から {0}(ポート {1})へ接続させてください",
    "it asked for what it may not do: {}": "許されていないことを求めました: {0}",
    "if it should: pacs ae set {} --allow {}": "許すなら: pacs ae set {0} --allow {1}",
    "none of its {} newest studies is from the future": "最近の検査 {0} 件に、未来のものはありません",
    "{} of its {} newest studies are from the future, by up to {}":
        "最近の検査 {1} 件のうち {0} 件が未来のものです(最大 {2})",
    "set its clock, and that of this server, by NTP": "相手とこのサーバの時計を NTP で合わせてください",
    "set its clock and its time zone, and those of this server, by NTP":
        "相手とこのサーバの時計を NTP で合わせ、タイムゾーンも確かめてください",
    "{} of its {} newest studies declare no character set for what is not ASCII":
        "最近の検査 {1} 件のうち {0} 件は、ASCII 以外の文字があるのに文字集合を宣言していません",
    "{} of its {} newest studies are not written in the character set that they declare":
        "最近の検査 {1} 件のうち {0} 件は、宣言した文字集合で書かれていません",
    "{} of its {} newest studies declare a character set that nobody knows":
        "最近の検査 {1} 件のうち {0} 件は、知られていない文字集合を宣言しています",
    "what {} of its {} newest studies declare wrongly is read by {}":
        "最近の検査 {1} 件のうち {0} 件は宣言が正しくないため、{2} として読んでいます",
    "let it declare ISO_IR 192, or say what it means: pacs ae set {} --charset":
        "ISO_IR 192 などを宣言させるか、使っている文字集合を登録してください: pacs ae set {0} --charset",
    "its {} newest studies are written as they declare": "最近の検査 {0} 件は、宣言した文字集合で書かれています",
    "it may have objects moved to {}, which has no address": "移動先として許した {0} に、アドレスがありません",
    "pacs ae add or set {}, with its host and port": "pacs ae add または set で {0} のホストとポートを登録してください",
    "it may have objects moved, but not to itself: it has no address here":
        "移動を許していますが、アドレスの登録がないので自分自身へは移動できません",
    "if it should: pacs ae set {} --host H --port P": "移動させるなら: pacs ae set {0} --host H --port P",
    "{} objects wait for it since {}: {}": "{1} から {0} 件が送信を待っています: {2}",
    "when that is mended: pacs send retry {}": "直したあとで: pacs send retry {0}",
    "{} objects wait for it, {} were sent": "{0} 件が送信を待ち、{1} 件を送りました",
    "it refused {} objects for good: {}": "{0} 件は受け取りを断られました: {1}",
    "pacs send list, then pacs send retry {} or pacs send drop":
        "pacs send list で確かめ、pacs send retry {0} か pacs send drop を実行してください",
    "it cannot send back what it is not sent: leave out --no-store, or --send-back":
        "送らないものは送り返せません。--no-store か --send-back のどちらかだけにしてください",
}  # fmt: skip
