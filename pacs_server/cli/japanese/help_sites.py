"""What is said of two sites, by `pacs partner` and `pacs failover`: a part of the Japanese help."""

from __future__ import annotations

from typing import Final

SITES: Final[dict[str, str]] = {
    "Join this archive with another one.": "このアーカイブを別のアーカイブと組にします。",
    "Make another archive a partner, known by its certificate alone. It has to add this one too.":
        "別のアーカイブを相手サーバとして登録します。相手は証明書だけで見分けます。相手側でもこちらの登録が必要です。",
    "SHA-256 of its certificate, as pacs tls show prints it there.":
        "相手の証明書の SHA-256 フィンガープリント。相手側の pacs tls show で表示されます。",
    "SHA-256 of its new certificate, as pacs tls show prints it there.":
        "相手の新しい証明書の SHA-256 フィンガープリント。相手側の pacs tls show で表示されます。",
    "The registered peer that objects for it go to: pacs ae list.":
        "画像の送り先とする、登録済みの接続相手。pacs ae list で確認できます。",
    "Change what is known of a partner. What is not named stays as it is.":
        "相手サーバの登録内容を変えます。指定しないものは変わりません。",
    "Its address or host name.": "相手のアドレスまたはホスト名。",
    "Its partner port.": "相手のパートナー用ポート。",
    "List the partners, as they were when the server last greeted them.":
        "相手サーバの一覧を、サーバが最後に確かめたときの状態とともに表示します。",
    "Greet a partner now, and show it. Ends with 13 when it does not answer.":
        "相手サーバに今すぐ接続して表示します。応答がなければ終了コードは 13 です。",
    "Compare everything that is held here and at a partner. Ends with 12 when one of both lacks something that is not on "
    "its way.":
        "こちらと相手サーバが持っているものをすべて比べます。送信待ちでもないのに片方にないものがあれば、終了コードは 12 です。",
    "Count anew what both hold, from the rows of all objects.":
        "双方にあるものを、すべての画像の登録から数え直します。",
    "Have each site send the other what it lacks.": "お互いに、相手に足りないものを送るようにします。",
    "Exchange nothing with a partner for the time being.": "相手サーバとのやり取りを一時的に止めます。",
    "Go on with a paused partner.": "止めていた相手サーバとのやり取りを再開します。",
    "Forget a partner. What came from it stays.": "相手サーバの登録を消します。受け取ったものは残ります。",
    "Say which of two sites viewers and modalities are to use. A site is called as pacs partner list calls it; this one "
    "here, or as the other one calls it. Where Patroni runs the database, a member of it may be named as well: then "
    "Patroni is asked.":
        "二つのサイトのうち、ビューアと装置が使う方を決めます。サイトは pacs partner list にある名前で、このサイト自身は here か、"
        "相手側での呼び名で指定します。データベースを Patroni が動かしていれば、そのメンバーの名前も指定でき、Patroni に依頼します。",
    "Show which site is preferred, and how far each is behind the other. Asks nobody: partners are shown as the running "
    "server saw them last.":
        "どちらが優先サイトか、互いにどれだけ遅れているかを表示します。問い合わせはせず、動いているサーバが最後に確かめた状態を示します。",
    "Show what a failover would do, and what speaks against it. Changes nothing. Ends with 0 only when it would run.":
        "切り替えで行うことと、できない理由を表示します。何も変えません。切り替えできるときだけ終了コードは 0 です。",
    "The other site does not answer, and cannot hand over.": "もう一方のサイトが応答せず、引き渡しができない場合に指定します。",
    "Make a site the preferred one. The other one takes no new associations, hands over what it has, and takes them again "
    "when the site was shown to store, find and give back. Given again after it was broken off, it goes on where it was.":
        "指定したサイトを優先サイトにします。もう一方は新しい接続の受付を止め、持っているものを引き渡し、"
        "指定したサイトで保存・検索・取得ができると確かめられたら受付を再開します。途中で止まったときは、同じコマンドで続きから行います。",
    "Only show what would be done, like pacs failover plan.": "行うことを表示するだけです。pacs failover plan と同じです。",
    "How long to wait at most.": "待つ時間の上限。",
    "Leave the other site draining when the time is over.": "時間切れのとき、もう一方のサイトの受付を止めたままにします。",
    "Give up a failover that was broken off. The other site takes associations again. Which one is preferred stays as it "
    "is.":
        "途中で止まった切り替えを取りやめます。もう一方のサイトは受付を再開します。優先サイトは今のままです。",
    "Make a partner and this site equal, and show that they are. Counts every object anew, on this side, and waits until "
    "each has what the other has. Ends with 3 when the time was over before. For a member of the database, Patroni is "
    "asked to make its copy anew.":
        "相手サーバとこのサイトの内容をそろえ、そろったことを確かめます。データベースのメンバーなら、その複製の作り直しを Patroni に依頼します。こちら側ではすべてのオブジェクトを数え直し、"
        "互いに同じものを持つまで待ちます。時間内に終わらなければ終了コードは 3 です。",
    "Let a site take no new associations but those of partners. It stays so after a restart, until --end. Nothing else "
    "changes.":
        "サイトの新しい接続の受付を止めます。相手サーバからの接続は受け付けます。再起動しても --end まで続きます。ほかは何も変わりません。",
    "Take associations again.": "接続の受付を再開します。",
}  # fmt: skip
