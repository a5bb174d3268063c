email,list_id,kind,method,reason,created
a@example.com,,unsubscribe,cli,,2026-11-27 05:33:43.449158
