"""What is said of peers and certificates, by `pacs ae` and `pacs tls`: a part of the Japanese help."""

from __future__ import annotations

from typing import Final

PEERS: Final[dict[str, str]] = {
    "Register peers: modalities, viewers, other archives.":
        "接続相手(モダリティ、ビューア、ほかのアーカイブ)を登録します。",
    "Register a peer. HOST PORT may be '- -' for one that only calls us; then it needs --from.":
        "接続相手を登録します。こちらへ接続してくるだけの相手は HOST PORT を '- -' とし、--from を付けます。",
    "Of echo,store,find,get,move,commit; a comma list. At first: all.":
        "echo,store,find,get,move,commit から、カンマ区切りで。初期値はすべて。",
    "Address, network or host name it may call from; repeat it. At first: HOST.":
        "接続を許す送信元(アドレス、ネットワーク、ホスト名)。繰り返し指定できます。初期値は HOST。",
    "Issuer of the patient IDs that it sends without one.": "発行者なしで送られてくる患者 ID の発行者。",
    "Character set to assume where it names none, and to answer in.":
        "文字集合の指定がないときに仮定し、応答にも使う文字集合。",
    "Of one of its queries. At first 0: as the settings say.": "一回の検索の応答数の上限。初期値 0 は設定ファイルに従います。",
    "Take its range of dates and of times as one. At first: no.":
        "日付の範囲と時刻の範囲を一つの範囲として扱います。初期値は no。",
    "Send it what is stored uncompressed in jpeg-lossless, jpeg-ls, jpeg-2000 or rle, or in the one of that UID. "
    "With uncompressed, offer it nothing else. At first: as it is.":
        "非圧縮で保管しているものを jpeg-lossless、jpeg-ls、jpeg-2000、rle、または UID で指定した転送構文で送ります。"
        "uncompressed とすると非圧縮だけを提案します。初期値は保管されているまま。",
    "Change what is registered about a peer. What is not named stays as it is; --from replaces all that it had.":
        "接続相手の登録を変更します。指定しない項目は変わりません。--from は以前の指定をすべて置き換えます。",
    "Its address or host name; '-' for one that only calls us.": "アドレスまたはホスト名。接続してくるだけの相手は '-'。",
    "Its port; '-' for one that only calls us.": "ポート。接続してくるだけの相手は '-'。",
    "List the registered peers.": "登録した接続相手の一覧を表示します。",
    "Show one peer.": "接続相手を一つ表示します。",
    "Forget a peer. What it sent stays.": "接続相手の登録を消します。その相手が送った画像は残ります。",
    "Try a peer leg by leg, and say what to change. TCP, TLS if it is called so, association, C-ECHO, then C-STORE of a tiny "
    "object: patient ID PACS-TEST, the same one each time.":
        "接続相手を段階ごとに試し、直すべき点を示します。TCP、(使う相手なら)TLS、アソシエーション、C-ECHO、最後に小さなオブジェクト"
        "(患者 ID PACS-TEST、毎回同じもの)の C-STORE の順です。",
    "Register the peers of a file that pacs ae export wrote. Those that would change a known peer wait for --yes.":
        "pacs ae export が書いたファイルの接続相手を登録します。既存の登録を変えるものは --yes を付けるまで待ちます。",
    "Write the registered peers to a YAML file. FILE may be - for standard output; pacs ae import reads it.":
        "登録した接続相手を YAML ファイルに書き出します。FILE を - とすると標準出力へ。pacs ae import で読み込めます。",
    "Let it in only over TLS with the certificate of that fingerprint; with --tls, also send to that one only. '-' is any.":
        "このフィンガープリントの証明書を TLS で示したときだけ接続を許します。--tls とともに指定すると、送信先もその証明書の相手に限ります。'-' で解除します。",
    "Titles besides our own by which it may call us; a comma list. At first: none.":
        "このサーバを呼ぶときに使ってよい別の AE タイトル。カンマ区切りで。初期値はなし。",
    "Peers to which it may have something moved; a comma list. At first: any.":
        "C-MOVE の送り先として指定してよい接続相手。カンマ区切りで。初期値はすべて。",
    "Of its own that it may have open at once. At first 0: no limit of its own.":
        "同時に開いてよいアソシエーションの数。初期値 0 は個別の上限なし。",
    "Keep room for so many of its associations, whoever else calls. At first: none.":
        "ほかの相手がどれだけ接続していても、この数のアソシエーションの席を空けておきます。初期値はなし。",
    "List who was turned away lately, from where, and what it asked for. The latest 200. Let one in with: pacs ae approve.":
        "最近拒否した相手を、送信元と求めた操作とともに一覧表示します。新しい順に 200 件まで。許可するには pacs ae approve。",
    "Let in a device that was turned away. From where it called, with the certificate that it showed. What is registered "
    "of it already changes only with --yes.":
        "拒否した装置を許可します。接続してきたアドレスと、示した証明書で登録します。すでに登録があれば --yes を付けたときだけ変更します。",
    "Of those from which it called; repeat it. Else: the only one.":
        "接続してきたアドレスのうち許可するもの。繰り返し指定できます。省略時は唯一のもの。",
    "Of echo,store,find,get,move,commit; a comma list. Else: echo, and what it asked for.":
        "echo,store,find,get,move,commit から、カンマ区切りで。省略時は echo と、その装置が求めたもの。",
    "Call it over TLS. At first: without.": "TLS で接続します。初期値は TLS なし。",
    "Make and show the certificates of this node.": "このサーバの証明書を作成・表示します。",
    "Make a certificate for this node, and an authority where there is none. An authority that is there is used, and "
    "never replaced.":
        "このサーバの証明書を作ります。認証局がなければ、それも作ります。すでにある認証局はそのまま使い、置き換えません。",
    "Put them here, for another machine; else where the settings say.":
        "別の計算機のために、ここに作ります。省略時は設定ファイルで決めた場所。",
    "A host name or address that it is for; repeat it. Else: those of this machine.":
        "証明書に入れるホスト名またはアドレス。繰り返し指定できます。省略時はこの計算機のもの。",
    "For how long it is valid; never longer than the authority.": "有効日数。認証局の期限を超えることはありません。",
    "Show the certificates of this node, with fingerprint and days left. Ends with 12 when one has expired or will "
    "within 30 days.":
        "このサーバの証明書を、フィンガープリントと残り日数とともに表示します。期限切れのもの、30 日以内に切れるものがあれば終了コードは 12 です。",
}  # fmt: skip
