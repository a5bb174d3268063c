email,list_id,kind,method,reason,created
a@example.com,,unsubscribe,cli,,2026-11-27 04:38:33.922695
